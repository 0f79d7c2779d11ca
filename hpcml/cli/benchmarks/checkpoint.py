"""What saving costs, beside the ways that PyTorch and h5py offer, all in one run on the same state and the same disk.

Every rank has 96 MB in tensors of 4 MB. A way that saves in the background has two times: until training may go on, and until all is on
disk; for ours the second ends with the commit record, which holds a checksum of every 4 MB, and `read back` also with every byte read from
the disk itself and compared with its checksum, which none of the others does. `hpcml` saves as `hpcml train` does: `save` returns at once,
the copy is made during the work of the step, and the blocking time is that of `save` and of `before_update` at the end of the work. `eager`
copies within `save`. Then each way saves after every step of 100 ms of work. Ours keeps each in memory and brings to disk as many as the
work leaves time for: `written_share` of them. Everything takes turns, so that other work on the machine disturbs all alike, and the median
counts. A time is that of the slowest rank. One rank alone comes first; the others sleep.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import torch
import torch.distributed as dist
from mpi4py import MPI
from torch.distributed.checkpoint.state_dict_saver import async_save, save

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint import Blocked, Checkpointer
from hpcml.io.checkpoint.stored.catalog import survey
from hpcml.io.checkpoint.stored.verify import damage
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World

MEGABYTES = 96
TENSOR_BYTES = 4 << 20
ROUNDS = 5
STEP_S = 0.1
STEPS = 16  # between two looks at the clock, per way of saving and round
NAP_S = 0.05
Samples = dict[str, list[float]]
RATIOS = {
    "blocking_vs_async_save": ("hpcml blocking", "async_save blocking"),
    "eager_blocking_vs_async_save": ("eager blocking", "async_save blocking"),
    "durable_vs_async_save": ("hpcml durable", "async_save durable"),
    "eager_durable_vs_async_save": ("eager durable", "async_save durable"),
    "read_back_vs_async_save": ("eager read back", "async_save durable"),
}


@one_torch_thread()
def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure on one rank and on all; the folder is ``TMPDIR``'s.

    Returns
    -------
    rows, figures
        Milliseconds by way and number of ranks. The figures, for each number of ranks as ``NAME_1`` and so on and at their worst as
        ``NAME``: the ratios, and ``overhead_every_step``, the share that saving after every step adds to it. ``written_share_1`` and so
        on of those saves reached the disk.

    Communication
    -------------
    Collective over world.
    """
    folder = Path(world.comm.bcast(tempfile.mkdtemp(prefix="hpcml-bench-") if world.rank == 0 else None))
    try:
        alone = _measure(MPI.COMM_SELF, folder / "alone") if world.rank == 0 else None
        arrival = world.comm.Ibarrier()
        while not arrival.Test():
            time.sleep(NAP_S)
        measured = {1: world.comm.bcast(alone)}
        if world.size > 1:
            measured[world.size] = _measure(world.comm, folder / "all")
    finally:
        if world.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    rows = [
        {"ranks": size, "measured": name, "median_ms": 1e3 * median(values), "fastest_ms": 1e3 * min(values)}
        for size, samples in measured.items()
        for name, values in samples.items()
        if name != "written share"
    ]
    return rows, _figures(measured)


def _figures(measured: dict[int, Samples]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for size, samples in measured.items():
        seconds = {name: median(values) for name, values in samples.items()}
        ratios = {name: seconds[ours] / seconds[theirs] for name, (ours, theirs) in RATIOS.items()}
        for way, name in (("hpcml", "overhead_every_step"), ("eager", "eager_overhead_every_step")):
            ratios[name] = seconds[f"step with {way}"] / seconds["step"] - 1
        for name, ratio in ratios.items():
            figures[f"{name}_{size}"] = ratio
            figures[name] = max(figures.get(name, ratio), ratio)
        figures[f"written_share_{size}"] = seconds["written share"]
    return figures


def _measure(comm: MPI.Intracomm, folder: Path) -> Samples:
    state = {f"w{index}": torch.randn(TENSOR_BYTES // 4) for index in range((MEGABYTES << 20) // TENSOR_BYTES)}
    if comm.rank == 0:
        folder.mkdir()
    comm.Barrier()
    dist.init_process_group("gloo", init_method=f"file://{folder}/gloo", rank=comm.rank, world_size=comm.size)
    samples: Samples = {}
    work = _calibrate(comm)
    with Checkpointer(folder / "hpcml", comm, lazy=True) as lazy, Checkpointer(folder / "eager", comm) as eager:
        ways = _Ways(comm, folder, state, lazy, eager, work)
        for once in range(ROUNDS + 1):  # the first round warms up: memory is allocated, processes start
            for name, way in ways.once().items():
                times = way(once)
                for stage, seconds in zip(("blocking", "durable", "read back"), times, strict=False):
                    samples.setdefault(f"{name} {stage}", []).extend([seconds] if once else [])
        for _ in range(ROUNDS):
            written = lazy.writes
            for name, each in ways.every_step().items():
                samples.setdefault(name, []).append(_step_seconds(comm, work, each))
                ways.finish()
            samples.setdefault("written share", []).append((lazy.writes - written) / STEPS)
    dist.destroy_process_group()
    return samples


class _Ways:
    """The ways of saving. Each returns the seconds until training may go on, until all is on disk and, if it can, until it is read back."""

    def __init__(self, comm: MPI.Intracomm, folder: Path, state: dict[str, torch.Tensor], *tools: Any) -> None:
        self._comm, self._folder, self._state = comm, folder, state
        self._lazy, self._eager, self._work = tools
        self._mine = {f"rank{comm.rank}/{name}": tensor for name, tensor in state.items()}
        self._pending: Any = None
        self._step = 0

    def once(self) -> dict[str, Callable[[int], tuple[float, ...]]]:
        return {
            "hpcml": self._lazy_save,
            "eager": self._eager_save,
            "async_save": self._async_save,
            "dcp_save": lambda once: self._timed(self._new("dcp", once), lambda path: save(self._mine, checkpoint_id=path)),
            "torch_save": lambda once: self._timed(self._new("torch", once), self._torch_save),
            "h5py": lambda once: self._timed(self._new("h5py", once), self._h5py),
        }

    def every_step(self) -> dict[str, Callable[[int], None]]:
        return {
            "step": lambda step: None,
            "step with hpcml": lambda step: self._save(self._lazy),
            "step with eager": lambda step: self._save(self._eager),
            "step with async_save": self._async_every_step,
        }

    def finish(self) -> None:
        """Wait for what is still saved in the background: it must not disturb the next way."""
        self._lazy.wait()
        self._eager.wait()
        if self._pending is not None:
            self._pending.result()

    def _new(self, name: str, once: int) -> Path:
        """A new folder; the one before the last is removed, as a run would."""
        path = self._folder / f"{name}-{once}"
        if self._comm.rank == 0:
            shutil.rmtree(self._folder / f"{name}-{once - 2}", ignore_errors=True)
            path.mkdir(exist_ok=True)
        self._comm.Barrier()
        return path

    def _calm(self) -> None:
        """Let the file system do what it has put off: the next one to force bytes to the disk would wait for what others removed."""
        if self._comm.rank == 0:
            os.sync()
        self._comm.Barrier()

    def _timed(self, folder: Path, write: Callable[[Path], Any]) -> tuple[float, float]:
        self._calm()
        start = time.perf_counter()
        write(folder)
        seconds = self._slowest(start)
        return seconds, seconds

    def _slowest(self, start: float) -> float:
        return float(self._comm.allreduce(time.perf_counter() - start, op=MPI.MAX))

    def _save(self, checkpointer: Checkpointer) -> None:
        checkpointer.before_update()
        self._step += 1
        rank, size = self._comm.rank, self._comm.size
        blocks = {name: Blocked(w, (rank * len(w),), (size * len(w),)) for name, w in self._state.items()}
        checkpointer.save(self._step, blocks)

    def _eager_save(self, once: int) -> tuple[float, float, float]:
        blocking, durable, start = self._save_and_wait(self._eager)
        newest = self._comm.bcast(survey(self._eager.folder).complete[0] if self._comm.rank == 0 else None)
        fault = damage(newest, self._comm)
        if newest.step != self._step or fault:
            raise CheckpointError(f"step {self._step} was saved, step {newest.step} found: {fault or 'whole'}")
        read_back = self._slowest(start)
        self._settle(self._eager)
        return blocking, durable, read_back

    def _lazy_save(self, once: int) -> tuple[float, float]:
        _, durable, _ = self._save_and_wait(self._lazy)
        self._settle(self._lazy)
        self._comm.Barrier()
        start = time.perf_counter()
        self._save(self._lazy)
        blocking = self._slowest(start)
        self._work()
        start = time.perf_counter()
        self._lazy.before_update()
        blocking += self._slowest(start)
        self._lazy.wait()
        self._settle(self._lazy)
        return blocking, durable

    def _save_and_wait(self, checkpointer: Checkpointer) -> tuple[float, float, float]:
        self._calm()
        start = time.perf_counter()
        self._save(checkpointer)
        blocking = self._slowest(start)
        checkpointer.wait()
        return blocking, self._slowest(start), start

    def _settle(self, checkpointer: Checkpointer) -> None:
        """Wait until older checkpoints are removed too: the others do that before their time begins, and must not be disturbed by ours."""
        while self._comm.rank == 0 and len(list(checkpointer.folder.glob("*step-*"))) > 2:
            time.sleep(0.001)
        self._comm.Barrier()

    def _async_save(self, once: int) -> tuple[float, float]:
        path = self._new("async", once)
        self._calm()
        start = time.perf_counter()
        future: Any = async_save(self._mine, checkpoint_id=path)
        blocking = self._slowest(start)
        future.result()
        self._comm.Barrier()
        return blocking, self._slowest(start)

    def _async_every_step(self, step: int) -> None:
        if self._pending is not None:
            self._pending.result()
        self._step += 1
        self._pending = async_save(self._mine, checkpoint_id=self._new("steps", self._step))

    def _torch_save(self, folder: Path) -> None:
        with (folder / f"rank-{self._comm.rank}.pt").open("wb") as file:
            torch.save(self._state, file)
            file.flush()
            os.fsync(file.fileno())

    def _h5py(self, folder: Path) -> None:
        path = folder / f"rank-{self._comm.rank}.h5"
        with h5py.File(path.with_suffix(".part"), "w") as file:
            for name, tensor in self._state.items():
                file.create_dataset(name, data=tensor.numpy())
        descriptor = os.open(path.with_suffix(".part"), os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        path.with_suffix(".part").rename(path)


def _calibrate(comm: MPI.Intracomm) -> Callable[[], None]:
    """Work for one core that takes about as long as a step should."""
    a = np.random.default_rng(0).random((256, 256))

    def multiply(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            np.dot(a, a)
        return time.perf_counter() - start

    multiply(20)
    times = round(20 * STEP_S / min(multiply(20) for _ in range(5)))
    times = comm.allreduce(times, op=MPI.MIN)

    def work() -> None:
        multiply(times)
        comm.Allreduce(MPI.IN_PLACE, np.zeros(1))  # the gradients' reduction: a late rank delays all

    return work


def _step_seconds(comm: MPI.Intracomm, work: Callable[[], None], each: Callable[[int], None]) -> float:
    comm.Barrier()
    start = time.perf_counter()
    for step in range(STEPS):
        work()
        each(step)
    return float(comm.allreduce(time.perf_counter() - start, op=MPI.MAX)) / STEPS
