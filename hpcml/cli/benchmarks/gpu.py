"""What a GPU is used for, beside the most that it could do: two ranks on one card, of which the first measures alone what takes one.

    copy         a tensor onto another: bytes read and written per second, what the card can do
    pack         the faces of a field along each axis into a buffer, and back, by one launch; bytes read and written, over those of a copy
    launch       of a bound kernel: what it takes the host, beside an operation of torch
    stencil      7 points of three dims in float64: bytes of a field read once and written once, over those of a copy
    fno          a training step of `hpcml.models.FNO` with Adam, over that of the same network of torch alone, and of neuraloperator's
    checkpoint   for how long saving parameters holds up training, over the time of ``torch.save`` of them
    exchange     of the faces of two ranks that share the card: through memory that both have mapped, over staging in the host's

What is compared takes turns, and the 20th percentile of the samples counts; the card has finished before a clock is read.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from hpcml.cli.benchmarks.plain_fno import PlainFNO
from hpcml.core.errors import DeviceError
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer
from hpcml.kernels.box import BoxPlan
from hpcml.kernels.stencil import bind_star_stencil
from hpcml.models.fno import FNO
from hpcml.mpi.world import World
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout

KIND = "cuda"
NAP_S = 0.01
Works = dict[str, Callable[[], object]]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: cells along a dim, channels of what is packed, those of the network, bytes, and how often."""

    cells: int = 512
    packed: tuple[int, int] = (64, 256)  # channels and cells along each of three dims: faces that no cache holds
    fno: tuple[int, int, int, int, int] = (256, 8, 64, 32, 4)  # cells, batch, channels, modes, layers
    tensors: tuple[int, int] = (128, 1 << 20)  # of a checkpoint: how many, and float32 in each
    exchanged: int = 256
    samples: int = 20
    calls: int = 10


SIZES = Sizes()
TINY = Sizes(8, (2, 6), (8, 1, 2, 2, 1), (2, 64), 6, 2, 1)


def run(world: World) -> tuple[Rows, dict[str, Any]]:
    """Measure all.

    Returns
    -------
    rows, figures
        A row for each thing timed. ``pack_vs_copy`` is the least over the first two axes and both directions, whose runs are long;
        ``pack_last_vs_copy`` that of the last, of whose every 32 bytes half are asked for. ``fno_vs_plain``, ``fno_vs_neuraloperator``
        (None where it is not installed), ``checkpoint_vs_torch_save`` and ``ipc_vs_staged`` are ratios of times.

    Raises
    ------
    DeviceError
        On every rank, where one has no GPU.

    Communication
    -------------
    Collective over world.
    """
    kinds = world.comm.allgather(world.device.type)
    if set(kinds) != {KIND}:
        rank = next(r for r, kind in enumerate(kinds) if kind != KIND)
        raise DeviceError(f"gpu measures a GPU, rank {rank} computes on the {kinds[rank]}: start it where torch sees a GPU (hpcml info)")
    rows: Rows = []
    figures: dict[str, Any] = {}
    if world.rank == 0:
        for measure in (_memory, _launch, _fno, _checkpoint):
            more, found = measure(world.device)
            rows += more
            figures |= found
    arrival = world.comm.Ibarrier()
    while not arrival.Test():
        time.sleep(NAP_S)
    more, found = _exchange(world)
    name = torch.cuda.get_device_name(world.device) if KIND == "cuda" else KIND
    return rows + more, figures | found | {"device": name}


def _memory(device: torch.device) -> tuple[Rows, dict[str, Any]]:
    channels, n = SIZES.packed
    field = torch.ones(channels, *(n,) * 3, dtype=torch.float64, device=device)
    works: Works = {}
    nbytes: dict[str, int] = {}
    for axis in range(3):
        ends = [(0, (slice(None), *(slice(None),) * axis, at)) for at in (slice(1, 3), slice(n - 3, n - 1))]
        plan = BoxPlan([field], ends)
        buffer = torch.ones(plan.nbytes // 8, dtype=torch.float64, device=device)
        for kind in ("pack", "unpack"):
            works[f"{kind} {axis}"] = plan.bind(kind, buffer, field)
            nbytes[f"{kind} {axis}"] = 2 * plan.nbytes
    source = torch.ones(max(nbytes.values()) // 16, dtype=torch.float64, device=device)
    works["copy of as much"], nbytes["copy of as much"] = partial(torch.empty_like(source).copy_, source), 16 * len(source)
    cells = (SIZES.cells,) * 3
    u, out = torch.ones([c + 2 for c in cells], dtype=torch.float64, device=device), torch.empty(cells, dtype=torch.float64, device=device)
    works["stencil"], nbytes["stencil"] = bind_star_stencil(out, u, -6.0, (1.0, 1.0, 1.0)), 16 * prod(cells)
    works["copy"], nbytes["copy"] = partial(torch.empty_like(out).copy_, out), 16 * prod(cells)
    times = _times(works, device)
    if not (bool((out == 0).all()) and bool((field == 1).all())):
        raise AssertionError("what was computed of ones is wrong")
    speed = {name: nbytes[name] / seconds for name, seconds in times.items()}
    packs = {name: value / speed["copy of as much"] for name, value in speed.items() if "pack" in name}
    rows = [{"measured": name, "ms": 1e3 * times[name], "GB/s": speed[name] / 1e9} for name in times]
    return rows, {
        "copy_gb_per_s": speed["copy"] / 1e9,
        "pack_vs_copy": min(value for name, value in packs.items() if not name.endswith("2")),
        "pack_last_vs_copy": min(value for name, value in packs.items() if name.endswith("2")),
        "stencil_vs_copy": speed["stencil"] / speed["copy"],
    }


def _launch(device: torch.device) -> tuple[Rows, dict[str, Any]]:
    """Of the host alone: a queue of the GPU holds a thousand of them."""
    u, out = torch.ones(10, 10, 10, device=device), torch.ones(8, 8, 8, device=device)
    works: Works = {"launch": bind_star_stencil(out, u, -6.0, (1.0, 1.0, 1.0)), "operation of torch": partial(out.add_, 1.0)}
    times = _times(works, device, of_host=True)
    return [{"measured": name, "ms": 1e3 * s, "GB/s": ""} for name, s in times.items()], {"launch_us": 1e6 * times["launch"]}


def _fno(device: torch.device) -> tuple[Rows, dict[str, Any]]:
    cells, batch, channels, modes, layers = SIZES.fno
    torch.manual_seed(0)
    with decompose(Grid((cells, cells), periodic=True), MPI.COMM_SELF, device=device) as domain:
        models: dict[str, torch.nn.Module] = {
            "hpcml": FNO(domain, channels=channels, modes=modes, layers=layers),
            "plain": PlainFNO(channels, modes, layers).to(device),
        }
        if find_spec("neuralop") is not None:
            from neuralop import models as theirs

            network = theirs.FNO((2 * modes, 2 * modes), in_channels=1, out_channels=1, hidden_channels=channels, n_layers=layers)
            models["neuraloperator"] = network.to(device)
        x, target = torch.randn(2, batch, 1, cells, cells, device=device)
        times = _times({name: _step(model, x, target) for name, model in models.items()}, device)
    ratios = {f"fno_vs_{name}": times["hpcml"] / times[name] if name in times else None for name in ("plain", "neuraloperator")}
    return [{"measured": f"fno of {name}", "ms": 1e3 * seconds, "GB/s": ""} for name, seconds in times.items()], ratios


def _step(model: torch.nn.Module, x: torch.Tensor, target: torch.Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        (model(x) - target).square().mean().backward()
        optimiser.step()

    return step


def _checkpoint(device: torch.device) -> tuple[Rows, dict[str, Any]]:
    """Ours holds up training within `save`, and at the end of the work that follows, in `before_update`."""
    number, length = SIZES.tensors
    state = {f"tensor{k}": torch.ones(length, device=device) for k in range(number)}
    work = torch.ones(256, 256, device=device)
    blocking, saving = [], []
    with tempfile.TemporaryDirectory() as name, Checkpointer(Path(name) / "ours", MPI.COMM_SELF, lazy=True) as checkpointer:
        for step in range(max(2, SIZES.samples // 4)):
            _finish(device)
            start = time.perf_counter()
            checkpointer.save(step, state)
            saved = time.perf_counter()
            while time.perf_counter() < saved + 0.05 * SIZES.calls:  # of training, in which the copy is made
                torch.mm(work, work)
                _finish(device)
            end = time.perf_counter()
            checkpointer.before_update()
            blocking.append(saved - start + time.perf_counter() - end)
            checkpointer.wait()
            start = time.perf_counter()
            torch.save(state, Path(name) / "theirs.pt")
            saving.append(time.perf_counter() - start)
    ours, theirs = (float(np.quantile(seconds[1:], 0.2)) for seconds in (blocking, saving))
    rows = [{"measured": way, "ms": 1e3 * s, "GB/s": ""} for way, s in (("held up by save", ours), ("torch.save", theirs))]
    return rows, {"checkpoint_vs_torch_save": ours / theirs}


def _exchange(world: World) -> tuple[Rows, dict[str, Any]]:
    n, device = SIZES.exchanged, world.device
    layout = Layout.blocks((world.size * n, n, n), (world.size, 1, 1))
    field = torch.full((n + 2, n, n), float(world.rank), dtype=torch.float64, device=device)
    options: dict[str, Any] = {"widths": (1, 0, 0), "periodic": (True, False, False)}
    with (
        HaloPlan(world.comm, layout, field, backend="shared", **options) as shared,
        HaloPlan(world.comm, layout, field, backend="staged", tag=2, **options) as staged,
    ):
        way = next(iter(shared.routes.values()))
        times = _times({"shared": partial(shared.exchange, field), "staged": partial(staged.exchange, field)}, device, world)
    if not bool((field[0] == (world.rank - 1) % world.size).all()):
        raise AssertionError("the ghosts are not the neighbor's cells")
    rows = [{"measured": f"exchange, {name}", "ms": 1e3 * s, "GB/s": 32e-9 * n * n / s} for name, s in times.items()]
    return rows, {"ipc_vs_staged": times["shared"] / times["staged"] if way == "shared" else None}


def _times(works: Works, device: torch.device, world: World | None = None, of_host: bool = False) -> dict[str, float]:
    """Seconds of a call of each, by turns; of the slower rank where there are two, and of the host alone if asked for."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for sample in range(-2, SIZES.samples):
        for name, work in works.items():
            if world is not None:
                world.comm.Barrier()
            _finish(device)
            start = time.perf_counter()
            for _ in range(SIZES.calls):
                work()
            if not of_host:
                _finish(device)
            if sample >= 0:  # what is compiled, planned and allocated at first use does not count
                found[name].append((time.perf_counter() - start) / SIZES.calls)
    least = {name: float(np.quantile(seconds, 0.2)) for name, seconds in found.items()}
    return least if world is None else {name: world.comm.allreduce(seconds, op=MPI.MAX) for name, seconds in least.items()}


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
