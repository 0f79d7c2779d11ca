"""The ranks of a job: the world they form, where they compute, how they add up, agree and fail together.

Nothing is imported until it is used, so ``import hpcml.mpi`` starts neither MPI nor torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcml.mpi.agreement import agree, agree_on_error, raise_together
    from hpcml.mpi.reductions import InPlaceSum, all_max, all_min, all_sum, start_sum
    from hpcml.mpi.stop_signal import StopSignal
    from hpcml.mpi.world import World, mpi_library, world

__all__ = [
    "InPlaceSum",
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
    "world",
]
_HOMES = {
    "StopSignal": "stop_signal",
    "World": "world",
    "mpi_library": "world",
    "agree": "agreement",
    "agree_on_error": "agreement",
    "raise_together": "agreement",
} | dict.fromkeys(("InPlaceSum", "all_max", "all_min", "all_sum", "start_sum"), "reductions")
_MODULES = frozenset(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def __getattr__(name: str) -> Any:
    """Import what ``hpcml.mpi.NAME`` stands for (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(f"hpcml.mpi.{_HOMES[name]}"), name)
    if name in _MODULES:  # `world` too: that module can be called
        return import_module(f"hpcml.mpi.{name}")
    raise AttributeError(f"hpcml.mpi has no {name!r}; it has {', '.join(sorted(_MODULES | set(_HOMES)))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
