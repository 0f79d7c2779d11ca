"""What graphs over ranks cost: the exchange of ghosts, what it sends, and a training step of a MeshGraphNet.

Exchange    every rank fetches the values that the nodes of a square mesh have on other ranks, on 2 and on 4 ranks, and torch's gloo does
            the same: rows of the field gathered, sent, received, put together. Each sample starts with new values and a barrier; gloo
            sends messages, and by turns one all-to-all of uneven parts, of which the quicker counts. Each rank takes the 20th percentile
            of its samples, which other work on the machine disturbs least, and the slower rank counts
Bytes       of an exchange and of its gradient, as they were counted when they were sent, over those of the ghosts, counted anew from the
            whole list of edges and the owners of all nodes
Weak        forward and backward pass of a MeshGraphNet on a mesh of triangles with N nodes on one rank, and on a mesh of 2 N on two, by
            turns, one thread each; least time of some, the slower rank counts. The same of processor time, waiting for the other included,
            tells the cost of a second rank where others want the cores too
PyG         the same network as it is written with PyTorch Geometric's MessagePassing, forward and backward, on one rank and one thread, and
            ours on the same mesh, by turns; least processor time of some
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import nn

from hpcml.cli.benchmarks.geometric_net import geometric_net
from hpcml.cli.benchmarks.graph_exchange import deal, measure_exchange
from hpcml.graphs import Graph, triangulated
from hpcml.models.mesh_graph_net import MeshGraphNet
from hpcml.mpi.reductions import all_max
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World

IN_CHANNELS, EDGE_CHANNELS, OUT_CHANNELS = 3, 3, 2
WITHOUT = "torch_geometric is not installed: pip install 'hpcml[geometric]'"


def run(
    world: World, side: int, features: int, samples: int, nodes: int, compared_nodes: int, channels: int, steps: int, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure exchange, bytes and steps, on the first 2 and 4 ranks, on 1 and 2, and on the first one.

    Parameters
    ----------
    side, features, samples : int
        Of the exchange: nodes along each side of the mesh, numbers at each node, samples of each way.
    nodes, compared_nodes : int
        Of each rank for the weak efficiency, and for the comparison with PyTorch Geometric.
    channels, steps, repeats : int
        Of the MeshGraphNet, and how often it is timed.

    Returns
    -------
    rows, figures
        ``latency_vs_gloo`` is the larger of ``latency_vs_gloo_2`` and ``latency_vs_gloo_4``; ``bytes_vs_true_halo``, of both together;
        ``weak_efficiency`` the time of one rank over that of two, ``weak_efficiency_processor`` of
        processor time; ``step_vs_pyg`` ours over theirs, None with a ``step_vs_pyg_note`` where theirs is not installed.

    Communication
    -------------
    Collective over world.
    """
    sizes = IN_CHANNELS, EDGE_CHANNELS, OUT_CHANNELS, channels, steps
    theirs = geometric_net(*sizes) if find_spec("torch_geometric") else None  # what it lacks is said at once, and by all ranks
    with one_torch_thread():
        found = {ranks: _on_first(world.comm, ranks, lambda comm: measure_exchange(comm, side, features, samples)) for ranks in (2, 4)}
        one, two, efficiency = _weak_times(world.comm, nodes, channels, steps, repeats)
        ours, geometric = _on_first(world.comm, 1, lambda comm: _beside_geometric(compared_nodes, channels, steps, repeats, theirs))
    rows = [
        _row("exchange", ranks, 1e-3 * of["ours_us"], 1e-3 * min(of["messages_us"], of["all_to_all_us"])) for ranks, of in found.items()
    ]
    rows += [_row("weak", 2, two, one), _row("step", 1, ours, geometric)]
    figures = {f"latency_vs_gloo_{ranks}": of["ratio"] for ranks, of in found.items()}
    figures["latency_vs_gloo"] = max(figures.values())
    figures["bytes_vs_true_halo"] = sum(of["bytes"] for of in found.values()) / sum(of["true_bytes"] for of in found.values())
    note = {} if geometric else {"step_vs_pyg_note": WITHOUT}
    figures |= {"weak_efficiency": one / two, "weak_efficiency_processor": efficiency}
    return rows, {**figures, "step_vs_pyg": ours / geometric if geometric else None, **note}


def _row(what: str, ranks: int, ours: float, other: float | None) -> dict[str, Any]:
    return {"what": what, "ranks": ranks, "ms": ours, "compared_ms": other, "ratio": ours / other if other else None}


def _weak_times(comm: MPI.Intracomm, nodes: int, channels: int, steps: int, repeats: int) -> tuple[float, float, float]:
    """Milliseconds of a step on one rank, and of one on two with as many nodes each, by turns; the ratio of their processor times."""
    times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with ExitStack() as opened:
        works: dict[int, Callable[[], None]] = {}
        for ranks in times:
            sub = opened.enter_context(_first(comm, ranks))
            if sub is not None:
                works[ranks] = _step(opened.enter_context(_graph(ranks * nodes, ranks, sub)), channels, steps)
        for _ in range(repeats + 1):
            for ranks, of in times.items():
                _sleep_until_all_are_here(comm)
                of.append(_milliseconds(works[ranks]) if ranks in works else (0.0, 0.0))
        (one, processor_one), (two, processor_two) = (
            [all_max(min(kind), comm) for kind in zip(*of[1:], strict=True)] for of in times.values()
        )
    return one, two, processor_one / processor_two


def _beside_geometric(nodes: int, channels: int, steps: int, repeats: int, theirs: nn.Module | None) -> tuple[float, float | None]:
    """Milliseconds of our step, and of theirs where there is one, by turns."""
    with _graph(nodes, 1, MPI.COMM_SELF) as graph:
        works = [_step(graph, channels, steps)]
        if theirs is not None:
            works.append(_geometric_step(graph, theirs))
        times = [[_milliseconds(work)[1] for work in works] for _ in range(repeats + 1)]
    least = np.min(times[1:], 0).tolist()
    return least[0], least[1] if len(least) > 1 else None


def _graph(nodes: int, length: int, comm: MPI.Intracomm) -> Graph:
    """A mesh of triangles of a rectangle."""
    return deal(triangulated(np.random.default_rng(0).random((nodes, 2)) * [length, 1]), comm)


def _step(graph: Graph, channels: int, steps: int) -> Callable[[], None]:
    model, x = MeshGraphNet(graph, IN_CHANNELS, OUT_CHANNELS, channels, steps), torch.randn(len(graph.nodes), IN_CHANNELS)

    def step() -> None:
        model.zero_grad()
        model(x).square().sum().backward()

    return step


def _geometric_step(graph: Graph, model: nn.Module) -> Callable[[], None]:
    lie = torch.cat([graph.along, graph.along.norm(dim=-1, keepdim=True)], -1).float()
    x = torch.randn(len(graph.nodes), IN_CHANNELS)

    def step() -> None:
        model.zero_grad()
        model(x, graph.edge_index, lie).square().sum().backward()

    return step


def _milliseconds(work: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - used)


def _on_first(comm: MPI.Intracomm, ranks: int, measure: Callable[[MPI.Intracomm], Any]) -> Any:
    """What the first ranks measure, on all ranks, of which the others sleep meanwhile."""
    with _first(comm, ranks) as sub:
        found = measure(sub) if sub is not None else None
        _sleep_until_all_are_here(comm)
    return comm.bcast(found)


@contextmanager
def _first(comm: MPI.Intracomm, ranks: int) -> Iterator[MPI.Intracomm | None]:
    """Communicator of the first ranks; None on the others."""
    sub: Any = comm.Split(0 if comm.rank < ranks else 1, comm.rank)
    try:
        yield sub if comm.rank < ranks else None
    finally:
        sub.Free()


def _sleep_until_all_are_here(comm: MPI.Intracomm) -> None:
    """A barrier that leaves the core to others."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(1e-4)
