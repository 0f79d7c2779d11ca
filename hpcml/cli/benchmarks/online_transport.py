"""Messages of two ranks that simulate to one that trains: by hpcml, by ZeroMQ where it is installed, and by files in memory."""

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpcml.mpi.patience import lenient
from hpcml.mpi.world import World
from hpcml.online.inlet import open_lanes
from hpcml.online.outlet import Outlet
from hpcml.parallel.layout import Layout

SMALL, LARGE = 16 << 10, 4 << 20
"""Bytes of a state."""
REPEATS = 3


def transport(world: World, messages: int) -> dict[str, Any]:
    """Messages per second of small states, and bytes per second of large ones, as ratios within this run; None without ZeroMQ.

    Every way ends with the state in an array of the receiver's own.

    Communication
    -------------
    Collective over world.comm, of 3 ranks.
    """
    zmq = all(world.comm.allgather(importlib.util.find_spec("zmq") is not None))
    ways: dict[str, Callable[[World, int, int], float]] = {"own": _own, "files": _files}
    if zmq:
        ways["zmq"] = _zmq
    seconds: dict[tuple[str, int], float] = {}
    with lenient():
        for _ in range(REPEATS):
            for size in (SMALL, LARGE):
                for name, way in ways.items():
                    count = messages * (10 if size == SMALL and name != "files" else 1)
                    world.comm.barrier()
                    taken = float(world.comm.bcast(way(world, size, count))) / count
                    seconds[name, size] = min(taken, seconds.get((name, size), taken))
    ratio = lambda other, size: round(seconds[other, size] / seconds["own", size], 3) if (other, size) in seconds else None  # noqa: E731
    return {
        "bytes_vs_zmq": ratio("zmq", LARGE),
        "messages_vs_zmq": ratio("zmq", SMALL),
        "vs_files": ratio("files", LARGE),
        "bytes_per_second": round(LARGE / seconds["own", LARGE]),
        "messages_per_second": round(1 / seconds["own", SMALL]),
    }


def _own(world: World, size: int, count: int) -> float:
    """Seconds for as many messages of both senders together."""
    cells = (size // 4,)
    comm = world.comm.Dup()
    target = Layout(cells, (((0, cells[0]),),), 0)
    sources = [Layout(cells, (((0, cells[0]),),), rank) for rank in (1, 2)]
    start = time.perf_counter()
    if comm.rank == 0:
        lanes, got = open_lanes(comm, sources, target, 1, 0, torch.float32, 4), torch.zeros(1, *cells)
        comm.barrier()
        start = time.perf_counter()
        while not all(lane.ended for lane in lanes):
            for lane in lanes:
                if lane.arrived():
                    lane.copy_to(got)
                    lane.advance()
    else:
        outlet = Outlet(comm, sources[comm.rank - 1], [target], 1, 0, torch.float32, 4)
        state = torch.ones(1, *cells)
        comm.barrier()
        for step in range(count // 2):
            outlet.send(0, 0, step, (), state, True, 0.0)
        outlet.end()
        outlet.close()
    seconds = time.perf_counter() - start
    comm.barrier()
    comm.Free()
    return seconds


def _zmq(world: World, size: int, count: int) -> float:
    zmq = importlib.import_module("zmq")
    context = zmq.Context()
    if world.rank == 0:
        socket = context.socket(zmq.PULL)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        world.comm.bcast(port)
        got = np.zeros(size, np.uint8)
        for _ in range(2):
            socket.recv()  # both are there
        world.comm.barrier()
        start = time.perf_counter()
        for _ in range(2 * (count // 2)):
            got[:] = np.frombuffer(socket.recv(copy=False), np.uint8)
    else:
        socket = context.socket(zmq.PUSH)
        socket.connect(f"tcp://127.0.0.1:{world.comm.bcast(None)}")
        state = np.ones(size, np.uint8)
        socket.send(b"here")
        world.comm.barrier()
        start = time.perf_counter()
        for _ in range(count // 2):
            socket.send(state.tobytes() if size == SMALL else state.copy(), copy=False)
    seconds = time.perf_counter() - start
    world.comm.barrier()
    socket.close(linger=0)
    context.term()
    return seconds


def _files(world: World, size: int, count: int) -> float:
    """Each state a file of its own, which appears whole and is removed once it was read."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as mine:
        folder = Path(world.comm.bcast(mine))
        world.comm.barrier()
        start = time.perf_counter()
        if world.rank == 0:
            got, left = np.zeros(size, np.uint8), 2 * (count // 2)
            while left:
                for path in [*folder.glob("*.npy")]:
                    got[:] = np.load(path)
                    path.unlink()
                    left -= 1
        else:
            state = np.ones(size, np.uint8)
            for step in range(count // 2):
                while step - 4 >= 0 and (folder / f"{world.rank}-{step - 4}.npy").exists():  # as many slots as the others have
                    time.sleep(1e-5)
                unfinished = folder / f"{world.rank}-{step}.part"
                with unfinished.open("wb") as file:
                    np.save(file, state)
                unfinished.rename(folder / f"{world.rank}-{step}.npy")
        seconds = time.perf_counter() - start
        world.comm.barrier()
    return seconds
