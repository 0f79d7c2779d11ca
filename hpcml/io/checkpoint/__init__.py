"""Checkpoints that stream: the whole state of a run, saved while it goes on, restored on any number of ranks.

`checkpointer` (what is saved: `registry`; how often: `interval`) fills `copies` in memory, which a process beside each rank brings to disk;
`restored` reads them from memory, parity or disk, and `summary` tells what is there. In rooms of their own: what a state is (`state`), the
process (`keeper`), what outlives the loss of a node (`parity`), and files (`stored`).
"""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.io.checkpoint.checkpointer import Checkpointer
    from hpcml.io.checkpoint.interval import SaveInterval
    from hpcml.io.checkpoint.restored import Restored, restore
    from hpcml.io.checkpoint.state.placement import Blocked, Rows

__all__ = ["Blocked", "Checkpointer", "Restored", "Rows", "SaveInterval", "restore"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        **dict.fromkeys(("Blocked", "Rows"), "hpcml.io.checkpoint.state.placement"),
        **dict.fromkeys(("Restored", "restore"), "hpcml.io.checkpoint.restored"),
        "Checkpointer": "hpcml.io.checkpoint.checkpointer",
        "SaveInterval": "hpcml.io.checkpoint.interval",
    },
)
