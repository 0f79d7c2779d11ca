"""Training while simulations run: roles, blocks from simulations to trainers, buffers, the order of work, what became of each sample.

Trainers (`online_stream`: `intake` from `inlet`, `buffer`, `store`, `ledger`, `desk`, `steering` by a `sampler`) and ranks that simulate
(`simulating`: `simulations`, `states`, `outlet`) share `roles` and the form of a `message`.
"""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.online.balanced import Balanced
    from hpcml.online.buffer import Buffer
    from hpcml.online.compiled import get_include, shared_library
    from hpcml.online.draws import Draws
    from hpcml.online.fifo import Fifo
    from hpcml.online.firo import Firo
    from hpcml.online.history import History
    from hpcml.online.plate import heat_plate
    from hpcml.online.reservoir import Reservoir
    from hpcml.online.sampler import Sampler

__all__ = [
    "Balanced",
    "Buffer",
    "Draws",
    "Fifo",
    "Firo",
    "History",
    "Reservoir",
    "Sampler",
    "get_include",
    "heat_plate",
    "shared_library",
]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "Balanced": "hpcml.online.balanced",
        "Buffer": "hpcml.online.buffer",
        "Draws": "hpcml.online.draws",
        "Fifo": "hpcml.online.fifo",
        "Firo": "hpcml.online.firo",
        "History": "hpcml.online.history",
        "Reservoir": "hpcml.online.reservoir",
        "Sampler": "hpcml.online.sampler",
        "get_include": "hpcml.online.compiled",
        "shared_library": "hpcml.online.compiled",
        "heat_plate": "hpcml.online.plate",
    },
)
