"""Training: loss, optimiser and loop, over groups of ranks that each hold the whole domain."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.training.bubble import bubble_share
    from hpcml.training.loss import Loss, h1, mse, relative_l2
    from hpcml.training.noise import Noise
    from hpcml.training.pipelining import pipeline
    from hpcml.training.recomputation import recompute
    from hpcml.training.trainer import Trainer

__all__ = ["Loss", "Noise", "Trainer", "bubble_share", "h1", "mse", "pipeline", "recompute", "relative_l2"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        **dict.fromkeys(("Loss", "h1", "mse", "relative_l2"), "hpcml.training.loss"),
        "Noise": "hpcml.training.noise",
        "Trainer": "hpcml.training.trainer",
        "bubble_share": "hpcml.training.bubble",
        "pipeline": "hpcml.training.pipelining",
        "recompute": "hpcml.training.recomputation",
    },
)
