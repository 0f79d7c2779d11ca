"""What saving costs, beside the ways that PyTorch and h5py offer, all in one run on the same state and the same disk."""

import os
import shutil
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

from hpcml.io.checkpoint.catalog import survey
from hpcml.io.checkpoint.checkpointer import Checkpointer
from hpcml.io.checkpoint.placement import Blocked
from hpcml.io.checkpoint.verify import damage

_TENSOR_BYTES = 4 << 20
_STEP_SECONDS = 0.1
_STEPS = 10  # between two looks at the clock, per way of saving and round


def measure(comm: MPI.Intracomm, folder: Path, megabytes: int = 96, rounds: int = 5) -> dict[str, Any]:
    """Measure every way of saving, in turn, several times.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks.
    folder : pathlib.Path
        Where to write; what is written there is removed again.
    megabytes : int
        State of each rank.
    rounds : int
        Times that everything is measured; medians are given.

    Returns
    -------
    dict
        Ratios ``blocking_vs_async_save``, ``durable_vs_async_save`` and ``overhead_every_step``, and under ``seconds`` what they are
        made of. A time is that of the slowest rank.

    Communication
    -------------
    Collective.

    Notes
    -----
    A way that saves in the background has two times: until training may go on, and until everything is on disk. For hpcml the second
    includes reading everything back and comparing it with the checksums.
    """
    state = {f"w{index}": torch.randn(_TENSOR_BYTES // 4) for index in range(max(1, (megabytes << 20) // _TENSOR_BYTES))}
    _start_gloo(comm, folder)
    seconds: dict[str, list[float]] = {}
    with Checkpointer(folder / "hpcml", comm) as checkpointer:
        ways = _Ways(comm, folder, state, checkpointer)
        for once in range(rounds + 1):  # the first round warms up: memory is allocated, processes start
            for name, way in ways.all().items():
                blocking, complete = way(once)
                if once:
                    seconds.setdefault(f"{name}_blocking", []).append(blocking)
                    seconds.setdefault(f"{name}_complete", []).append(complete)
        work = _calibrate(comm)
        for _ in range(rounds):
            for name, each in ways.every_step().items():
                seconds.setdefault(f"step_{name}", []).append(_step_seconds(comm, work, each))
        ways.finish()
        on_disk = checkpointer.writes / checkpointer.saves
    dist.destroy_process_group()
    return _report(comm, megabytes, {name: median(values) for name, values in seconds.items()}, on_disk)


def _report(comm: MPI.Intracomm, megabytes: int, seconds: dict[str, float], on_disk: float) -> dict[str, Any]:
    quiet = seconds["step_without"]
    return {
        "ranks": comm.size,
        "megabytes_per_rank": megabytes,
        "blocking_vs_async_save": seconds["hpcml_blocking"] / seconds["async_save_blocking"],
        "durable_vs_async_save": seconds["hpcml_complete"] / seconds["async_save_complete"],
        "overhead_every_step": seconds["step_hpcml"] / quiet - 1,
        "overhead_every_step_async_save": seconds["step_async_save"] / quiet - 1,
        "share_of_saves_on_disk": on_disk,
        "seconds": seconds,
    }


class _Ways:
    """The ways of saving; each returns the seconds until training may go on and until all is on disk."""

    def __init__(self, comm: MPI.Intracomm, folder: Path, state: dict[str, torch.Tensor], checkpointer: Checkpointer) -> None:
        self._comm, self._folder, self._checkpointer = comm, folder, checkpointer
        self._state = state
        self._mine = {f"rank{comm.rank}/{name}": tensor for name, tensor in state.items()}
        self._pending: Any = None
        self._step = 0

    def all(self) -> dict[str, Callable[[int], tuple[float, float]]]:
        return {
            "hpcml": self._hpcml,
            "async_save": self._async_save,
            "dcp_save": lambda once: self._timed(lambda: save(self._mine, checkpoint_id=self._new("dcp", once))),
            "torch_save": lambda once: self._timed(lambda: self._torch_save(self._new("torch", once))),
            "h5py": lambda once: self._timed(lambda: self._h5py(self._new("h5py", once))),
        }

    def every_step(self) -> dict[str, Callable[[int], None]]:
        return {"without": lambda step: None, "hpcml": lambda step: self._save(), "async_save": self._async_every_step}

    def finish(self) -> None:
        if self._pending is not None:
            self._pending.result()
        if self._comm.rank == 0:
            for path in self._folder.glob("[!h]*"):
                shutil.rmtree(path, ignore_errors=True)

    def _new(self, name: str, once: int) -> Path:
        """A new folder; the one before the last is removed, as a run would."""
        path = self._folder / f"{name}-{once}"
        if self._comm.rank == 0:
            shutil.rmtree(self._folder / f"{name}-{once - 2}", ignore_errors=True)
            path.mkdir(exist_ok=True)
        self._comm.Barrier()
        return path

    def _timed(self, save: Callable[[], Any]) -> tuple[float, float]:
        self._comm.Barrier()
        start = time.perf_counter()
        save()
        seconds = self._slowest(start)
        return seconds, seconds

    def _slowest(self, start: float) -> float:
        return float(self._comm.allreduce(time.perf_counter() - start, op=MPI.MAX))

    def _save(self) -> None:
        self._step += 1
        rank, size = self._comm.rank, self._comm.size
        blocks = {name: Blocked(w, (rank * len(w),), (size * len(w),)) for name, w in self._state.items()}
        self._checkpointer.save(self._step, blocks)

    def _hpcml(self, once: int) -> tuple[float, float]:
        self._comm.Barrier()
        start = time.perf_counter()
        self._save()
        blocking = self._slowest(start)
        self._checkpointer.wait()
        newest = self._comm.bcast(survey(self._checkpointer.folder).complete[0] if self._comm.rank == 0 else None)
        assert newest.step == self._step and damage(newest, self._comm) is None
        return blocking, self._slowest(start)

    def _async_save(self, once: int) -> tuple[float, float]:
        path = self._new("async", once)
        self._comm.Barrier()
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
    times = round(20 * _STEP_SECONDS / min(multiply(20) for _ in range(5)))
    times = comm.allreduce(times, op=MPI.MIN)

    def work() -> None:
        multiply(times)
        comm.Allreduce(MPI.IN_PLACE, np.zeros(1))  # the gradients' reduction: a late rank delays all

    return work


def _step_seconds(comm: MPI.Intracomm, work: Callable[[], None], save: Callable[[int], None]) -> float:
    comm.Barrier()
    start = time.perf_counter()
    for step in range(_STEPS):
        work()
        save(step)
    return float(comm.allreduce(time.perf_counter() - start, op=MPI.MAX)) / _STEPS


def _start_gloo(comm: MPI.Intracomm, folder: Path) -> None:
    if comm.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gloo").unlink(missing_ok=True)
    comm.Barrier()
    dist.init_process_group("gloo", init_method=f"file://{folder.absolute()}/gloo", rank=comm.rank, world_size=comm.size)
