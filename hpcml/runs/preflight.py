"""A look at the nodes of a job before it begins: what does not fit together, and which node is off from the others."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import torch
from mpi4py import MPI

import hpcml
from hpcml.io.files.remedy import remedy
from hpcml.mpi import gpu_aware
from hpcml.mpi.patience import lenient
from hpcml.mpi.world import World, mpi_library
from hpcml.runs.measure import Measure
from hpcml.runs.node_speeds import clock_s, files_s, message_ms, pairs_of, product_ms, shares, unseen

CLOCK_S = 0.5
FREE_BYTES = 1 << 30
MS = "ms"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found.

    Attributes
    ----------
    lines : tuple of str
        How things are.
    off : tuple of str
        Nodes that differ from the others: the job would be slow.
    wrong : tuple of str
        What the job should not begin with, each with what to do.
    """

    lines: tuple[str, ...]
    off: tuple[str, ...]
    wrong: tuple[str, ...]


def preflight(world: World, folder: Path) -> Preflight:
    """Look at MPI, GPUs, cores, lines between ranks and nodes, the file system and the clocks: some ten seconds.

    Parameters
    ----------
    world : World
        All ranks of the job; that their number is the launcher's was checked when it was made.
    folder : Path
        Where the job will write; it is there.

    Returns
    -------
    Preflight
        On every rank.

    Communication
    -------------
    Collective over world.comm.
    """
    comm, me = world.comm, socket.gethostname().partition(".")[0]
    names = comm.allgather(me)
    leaders = comm.Split(0 if world.local_rank == 0 else MPI.UNDEFINED, comm.rank)
    lines, wrong = _alike(world, names)
    measures = _speeds(world, names, leaders)
    with lenient():
        found, refused = _files(folder, leaders) if leaders != MPI.COMM_NULL else (None, "")
    every = [said for said in comm.allgather(refused) if said]
    measures.append(Measure(f"a file of 8 MB in {folder}", shares(comm.allgather(found), names), "s", 3, 0.5))
    wrong += dict.fromkeys(every)
    clocks = shares(comm.allgather(clock_s(leaders) if leaders != MPI.COMM_NULL else None), names)
    off = [text for measure in measures for text in measure.off()]
    off += [f"{name} is off: its clock is {abs(by):.3g} s {'before' if by > 0 else 'behind'} that of {names[0]}"
            for name, by in clocks.items() if abs(by) > CLOCK_S]  # fmt: skip
    lines += [measure.line() for measure in measures]
    lines.append(f"clocks: within {1e3 * (max(clocks.values()) - min(clocks.values())):.2g} ms")
    if leaders != MPI.COMM_NULL:
        leaders.Free()
    return comm.bcast(Preflight(tuple(lines), tuple(off), tuple(wrong)))


def _alike(world: World, names: list[str]) -> tuple[list[str], list[str]]:
    """MPI, versions, GPUs and cores: what is there, and what does not fit."""
    comm, wrong = world.comm, list[str]()
    gpus, mask = torch.cuda.device_count(), tuple(sorted(os.sched_getaffinity(0)))
    sides = comm.allgather((mpi_library(), hpcml.__version__, torch.__version__))
    for what, each in zip(("MPI", "hpcml", "torch"), zip(*sides, strict=True), strict=True):
        kinds = {kind: names[each.index(kind)] for kind in each}
        if len(kinds) > 1:
            told = ", ".join(f"{kind} on {name}" for kind, name in kinds.items())
            wrong.append(f"ranks run different versions of {what} ({told}): start all from one environment")
    seen, cores = dict(zip(names, comm.allgather(gpus), strict=True)), dict[str, set[int]]()
    for name, each in zip(names, comm.allgather(mask), strict=True):
        cores.setdefault(name, set()).update(each)
    for name, count in seen.items():
        if max(seen.values()) and count < names.count(name) and world.device.type == "cuda":
            wrong.append(
                f"{names.count(name)} ranks of {name} share {count} GPUs: ask for as many --gpus-per-node as --ntasks-per-node, or start "
                "fewer ranks"
            )
    crowded = [name for name in seen if len(cores[name]) < names.count(name)]
    decision = gpu_aware.decided()
    lines = [
        f"MPI: {mpi_library()}, {comm.size} ranks on {world.num_nodes} nodes, {world.threads} threads each",
        f"GPUs: {', '.join(f'{count} on {name}' for name, count in seen.items()) if any(seen.values()) else 'none'}; MPI "
        f"{'takes' if decision.answer else 'does not take'} GPU memory: {decision.reason}",
    ]
    if crowded:
        lines.append(f"cores: more ranks than cores on {', '.join(crowded[:8])}: ask for more --cpus-per-task, unless this is a laptop")
    return lines, wrong


def _speeds(world: World, names: list[str], leaders: MPI.Intracomm) -> list[Measure]:
    """Products of matrices, messages within nodes, messages between them."""
    comm, nodes, found = world.comm, [*dict.fromkeys(names)], list[Measure]()
    products = comm.allgather(product_ms())
    slowest = {name: max(ms for ms, each in zip(products, names, strict=True) if each == name) for name in nodes}
    found.append(Measure("a product of matrices", slowest, MS, 2))
    own, mine = nodes.index(names[comm.rank]), leaders != MPI.COMM_NULL
    for device in dict.fromkeys((torch.device("cpu"), world.device)):
        where = "" if device.type == "cpu" else " from GPU to GPU"
        if world.num_nodes < comm.size:
            two = own if world.local_rank < 2 and names.count(names[comm.rank]) > 1 else None
            found += _messages(comm.allgather(message_ms(comm, two, device)), names, f"within a node{where}")
        times: dict[str, tuple[float, ...]] = {}
        for round_ in range(2 if len(nodes) > 2 else len(nodes) - 1):
            pairs = pairs_of(len(nodes), round_)
            pair = next((k for k, each in enumerate(pairs) if own in each), None) if mine else None
            taken = message_ms(comm, pair, device)
            link = None if pair is None else " - ".join(nodes[k] for k in pairs[pair])
            times |= {name: ms for name, ms in comm.allgather((link, taken)) if name is not None and ms is not None}
        links = _messages([*times.values()], [*times], f"between nodes{where}")
        found += links if len(nodes) > 1 else []
    return found


def _messages(times: list[tuple[float, ...] | None], names: list[str], where: str) -> list[Measure]:
    found = []
    for k, (size, least) in enumerate((("64 B", 0.05), ("1 MB", 0.5))):
        values = shares([None if t is None else t[k] for t in times], names)
        found.append(Measure(f"{size} {where}", values, MS, 3, least))
    return found


def _files(folder: Path, leaders: MPI.Intracomm) -> tuple[float | None, str]:
    """Seconds for a file, and what is wrong on this node."""
    me = socket.gethostname().partition(".")[0]
    seconds: float | None = None
    try:
        seconds, refused = files_s(folder)
        said = f"{folder} takes no {refused}" if refused else ""
        if (free := shutil.disk_usage(folder).free) < FREE_BYTES:
            said = f"{folder} has {free / 1e9:.1f} GB left: free some space, or choose another folder"
    except OSError as error:
        said = f"{me} cannot write to {folder}: {error.strerror}{remedy(error.errno)}"
    if leaders.allreduce(int(seconds is None)) == 0 and unseen(folder, leaders):
        said = f"{me} does not see what is written to {folder} elsewhere: choose a folder on a file system that all nodes share"
    return seconds, said
