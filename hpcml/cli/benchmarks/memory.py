"""What a network keeps for its backward pass, and the most that a training step takes at once.

Kept    bytes of all tensors that autograd saves in a forward pass, each storage once, parameters and buffers apart: counted as torch hands
        them to its hooks for saved tensors, in fields, that is over the bytes of one channel of the rank's block.
Plain   the same of torch's own layers, for a block of that size with its ghosts, one cell at each side along dims that are split: what our
        layers are on one rank, on a field of so many cells.
Peak    of a forward and a backward pass, from the system's mark of the memory that a process has had resident, above what it had before.
        Large results come from the system and go back to it meanwhile, so that the mark is theirs.

`neuraloperator`, if it is installed, is counted too, as wide and as deep, with the same modes; the package is no dependency of this one.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.core.malloc import keep_results_below
from hpcml.fields import Domain, Grid, decompose
from hpcml.models.fno import FNO
from hpcml.models.unet import UNet
from hpcml.mpi.reductions import all_max
from hpcml.mpi.world import World

CELLS = {2: 64, 3: 32}
"""By dims: of each."""
RANKS = (1, 2, 4)
BATCH, CHANNELS, MODES = 2, 16, 8
LARGE_BYTES, USUAL_BYTES = 1 << 16, 1 << 20
"""From which on results come from the system: here, and afterwards."""

Networks = dict[str, Callable[[Domain], nn.Module]]
NETWORKS: Networks = {
    "fno": lambda domain: FNO(domain, 1, 1, CHANNELS, tuple(min(MODES, n // 2) for n in domain.global_shape), coordinates=False),
    "unet": lambda domain: UNet(domain, 1, 1, CHANNELS),
}


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Count both networks in two and three dims on 1, 2 and 4 ranks; the rank that keeps most counts.

    Returns
    -------
    rows, figures
        By network, dims and ranks: ``kept_ratio_fno_2d_4`` is what is kept over what the plain network keeps, ``peak_ratio_fno_2d_4`` the
        peak over that of one rank, ``neuraloperator_ratio_fno_2d`` what an FNO keeps on one rank over what neuraloperator's does.

    Communication
    -------------
    Collective over world.
    """
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    keep_results_below(LARGE_BYTES)
    try:
        for name, num_dims in ((name, num_dims) for name in NETWORKS for num_dims in CELLS):
            of_one = None
            for ranks in RANKS:
                row = _row(world.comm, name, num_dims, ranks)
                of_one = of_one or row["peak_MB"]
                rows.append(row | {"peak_ratio": row["peak_MB"] / of_one if of_one and row["peak_MB"] else None})
                figures[f"kept_ratio_{name}_{num_dims}d_{ranks}"] = row["kept_ratio"]
                figures[f"peak_ratio_{name}_{num_dims}d_{ranks}"] = rows[-1]["peak_ratio"]
                if row["neuraloperator"] is not None:
                    figures[f"neuraloperator_ratio_{name}_{num_dims}d"] = row["kept"] / row["neuraloperator"]
    finally:
        keep_results_below(USUAL_BYTES)
    return rows, figures


def kept_fields(model: nn.Module, x: Tensor) -> float:
    """What autograd keeps of a forward pass, in fields: channels of the block that the input is, of all samples.

    Communication
    -------------
    That of the model's forward pass.
    """
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that nothing else takes its address
        return saved

    with torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
        y = model(x)
    del y
    return sum(storage.nbytes() for storage in kept.values()) / x[:, 0].nbytes


def _row(comm: MPI.Intracomm, name: str, num_dims: int, ranks: int) -> dict[str, Any]:
    """Count on the first ranks, while the others wait."""
    shared: Any = comm.Split(0 if comm.rank < ranks else 1, comm.rank)
    counted = (0.0, 0.0, 0.0)
    if comm.rank < ranks:
        with decompose(Grid((CELLS[num_dims],) * num_dims), shared) as domain:
            counted = _counted(name, domain)
    shared.Free()
    kept, plain, peak = (all_max(value, comm) for value in counted)
    other = _of_neuraloperator(num_dims) if name == "fno" and ranks == 1 else None
    return {
        "network": name,
        "dims": num_dims,
        "ranks": ranks,
        "kept": kept,
        "plain": plain,
        "kept_ratio": kept / plain,
        "neuraloperator": other,
        "peak_MB": peak or None,
    }


def _counted(name: str, domain: Domain) -> tuple[float, float, float]:
    """Fields that the network keeps and that the plain one does, over those of one block, and the peak in MB."""
    model, x = NETWORKS[name](domain), torch.randn(BATCH, 1, *domain.local_shape)
    kept = kept_fields(model, x)  # also makes what is kept for good: buffers of exchanges, plans
    model(x).sum().backward()
    with _resident() as peak:
        model(x).sum().backward()
    ghosts = 2 if name == "unet" else 0
    cells = [n + ghosts * (p > 1) for n, p in zip(domain.local_shape, domain.process_grid.dims, strict=True)]
    with decompose(Grid(cells), MPI.COMM_SELF) as block:
        whole = torch.randn(BATCH, 1, *cells)
        plain = kept_fields(NETWORKS[name](block), whole) * whole.nbytes / x.nbytes
    return kept, plain, peak[0] / 1e6


def _of_neuraloperator(num_dims: int) -> float | None:
    if find_spec("neuralop") is None:
        return None
    sizes = {"in_channels": 1, "out_channels": 1, "hidden_channels": CHANNELS, "n_layers": 4, "positional_embedding": None}
    model = import_module("neuralop.models").FNO(n_modes=(2 * MODES,) * num_dims, **sizes)
    return kept_fields(model, torch.randn(BATCH, 1, *(CELLS[num_dims],) * num_dims))


@contextmanager
def _resident() -> Iterator[list[float]]:
    """Put into the list the most bytes that were resident at once in this block, above those at its start; 0 where no system tells."""
    found = [0.0]
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark starts again from what is resident now
        before = _status("VmRSS")
    except OSError:
        yield found
        return
    yield found
    found[0] = float(_status("VmHWM") - before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
