"""Checkpoints that stream: the whole state of a run, saved while it goes on, restored on any number of ranks.

`checkpointer` (what is saved: `registry`; how often: `interval`) fills `copies` in memory, which a process beside each rank brings to disk;
`restored` reads them from memory, parity or disk, and `summary` tells what is there. In rooms of their own: what a state is (`state`), the
process (`keeper`), what outlives the loss of a node (`parity`), and files (`stored`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcml.io.checkpoint.checkpointer import Checkpointer
    from hpcml.io.checkpoint.interval import SaveInterval
    from hpcml.io.checkpoint.restored import Restored, restore
    from hpcml.io.checkpoint.state.placement import Blocked, Rows

__all__ = ["Blocked", "Checkpointer", "Restored", "Rows", "SaveInterval", "restore"]
_HOME = {
    "Blocked": "state.placement",
    "Checkpointer": "checkpointer",
    "Restored": "restored",
    "Rows": "state.placement",
    "SaveInterval": "interval",
    "restore": "restored",
}


def __getattr__(name: str) -> Any:
    """Import what ``hpcml.io.checkpoint.NAME`` stands for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
