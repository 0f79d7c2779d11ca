"""What a trainer learns from: samples in memory and in files, who takes which when, and streams of updates."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.data.epochs import Epochs
    from hpcml.data.samples import Pairs, Samples
    from hpcml.data.schedule import Schedule
    from hpcml.data.several import Several
    from hpcml.data.stream import Stream

__all__ = ["Epochs", "Pairs", "Samples", "Schedule", "Several", "Stream"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "Epochs": "hpcml.data.epochs",
        **dict.fromkeys(("Pairs", "Samples"), "hpcml.data.samples"),
        "Schedule": "hpcml.data.schedule",
        "Several": "hpcml.data.several",
        "Stream": "hpcml.data.stream",
    },
)
