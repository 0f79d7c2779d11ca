"""The ranks of a job: the world they form, where they compute, how they add up, agree and fail together.

Nothing is imported until it is used, so ``import hpcml.mpi`` starts neither MPI nor torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.mpi.agreement import agree, agree_on_error, raise_together
    from hpcml.mpi.monitor import Monitor
    from hpcml.mpi.reductions import InPlaceSum, all_max, all_min, all_sum, start_sum
    from hpcml.mpi.stop_signal import StopSignal
    from hpcml.mpi.survivors import surviving
    from hpcml.mpi.world import World, mpi_library, world

__all__ = [
    "InPlaceSum",
    "Monitor",
    "StopSignal",
    "World",
    "agree",
    "agree_on_error",
    "all_max",
    "all_min",
    "all_sum",
    "mpi_library",
    "raise_together",
    "start_sum",
    "surviving",
    "world",
]
_HOMES = {path.stem: f"hpcml.mpi.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")} | {  # `world` too, which can be called
    "Monitor": "hpcml.mpi.monitor",
    "StopSignal": "hpcml.mpi.stop_signal",
    "World": "hpcml.mpi.world",
    "mpi_library": "hpcml.mpi.world",
    "surviving": "hpcml.mpi.survivors",
    **dict.fromkeys(("agree", "agree_on_error", "raise_together"), "hpcml.mpi.agreement"),
    **dict.fromkeys(("InPlaceSum", "all_max", "all_min", "all_sum", "start_sum"), "hpcml.mpi.reductions"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
