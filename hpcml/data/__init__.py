"""What a trainer learns from: samples in memory and in files, and who takes which when."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.data.samples import Pairs, Samples
    from hpcml.data.schedule import Schedule

__all__ = ["Pairs", "Samples", "Schedule"]
__getattr__, __dir__ = lazily(
    __name__,
    {**dict.fromkeys(("Pairs", "Samples"), "hpcml.data.samples"), "Schedule": "hpcml.data.schedule"},
)
