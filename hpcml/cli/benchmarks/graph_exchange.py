"""The exchange of a graph's ghosts, against torch's gloo in the same run, and the bytes that it sends."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.cli.benchmarks.gloo import gloo, send_and_receive
from hpcml.graphs import Graph, Mesh, structured
from hpcml.mpi.reductions import all_max, all_sum
from hpcml.parallel.exchange import traffic
from hpcml.topology.block import block_range

WARM_UP = 5
"""Samples that do not count: buffers, requests and torch's kernels are made at first use."""
QUANTILE = 0.2


def measure_exchange(comm: MPI.Intracomm, side: int, features: int, samples: int) -> dict[str, Any]:
    """Time and count the exchange on a square mesh of so many nodes along each side.

    Returns
    -------
    dict
        ``ours_us``, ``messages_us`` and ``all_to_all_us``; ``ratio`` of the first to the smaller of the others; ``bytes`` over
        ``true_bytes``, those of an exchange and of its gradient, of all ranks.

    Communication
    -------------
    Collective over comm.
    """
    mesh = structured((side, side), (1.0, 1.0))
    with deal(mesh, comm) as graph, gloo(comm):
        ways, x = _ways(graph, comm, features)
        expected = ways["ours"]()
        if not all(torch.equal(way(), expected) for way in ways.values()):
            raise AssertionError("ways to fetch ghosts disagree")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for sample in range(-WARM_UP, samples):
            for name, way in ways.items():
                x.fill_(sample)
                comm.Barrier()
                start = time.perf_counter()
                way()
                if sample >= 0:
                    times[name].append(time.perf_counter() - start)
        took = {f"{name}_us": 1e6 * all_max(float(np.quantile(of, QUANTILE)), comm) for name, of in times.items()}
        sent, needed = _bytes_sent(graph, features), _true_bytes(graph, mesh.edges(), features)
    return took | {"ratio": took["ours_us"] / min(took["messages_us"], took["all_to_all_us"]), "bytes": sent, "true_bytes": needed}


def deal(mesh: Mesh, comm: MPI.Intracomm) -> Graph:
    """Deal a mesh that every rank has.

    Communication
    -------------
    Collective over comm.
    """
    edges = mesh.edges()
    own, mine = (block_range(n, comm.size, comm.rank) for n in (len(mesh.points), edges.shape[1]))
    return Graph.deal(mesh.points[own.start : own.stop], edges[:, mine.start : mine.stop], comm)


def _ways(graph: Graph, comm: MPI.Intracomm, features: int) -> tuple[dict[str, Callable[[], Tensor]], Tensor]:
    """Ways to get the values at ghosts, and the field that they are values of."""
    plan, x = graph._plan, torch.arange(float(len(graph.nodes) * features)).view(-1, features)
    places = torch.cat([graph.nodes[:0], *plan.send.values()])
    into, out = ([len_of.get(peer, 0) for peer in range(comm.size)] for len_of in (plan.recv, {p: len(of) for p, of in plan.send.items()}))

    def messages() -> Tensor:
        came = {peer: x.new_empty(count, features) for peer, count in plan.recv.items()}
        send_and_receive([(peer, x.index_select(0, of)) for peer, of in plan.send.items()], list(came.items()))
        return torch.cat([x[:0], *came.values()])

    def all_to_all() -> Tensor:
        came = x.new_empty(plan.num_ghosts, features)
        torch.distributed.all_to_all_single(came, x.index_select(0, places), into, out)
        return came

    return {"ours": partial(plan.ghosts, x), "messages": messages, "all_to_all": all_to_all}, x


def _bytes_sent(graph: Graph, features: int) -> int:
    """Bytes of one exchange and of its gradient, of all ranks."""
    x = torch.ones(len(graph.nodes), features, requires_grad=True)
    graph._plan.ghosts(x).sum().backward()
    before = traffic.bytes
    graph._plan.ghosts(x).sum().backward()
    return all_sum(traffic.bytes - before, graph.comm)


def _true_bytes(graph: Graph, edges: np.ndarray, features: int) -> int:
    """Bytes of the ghosts, there and back: the nodes of others at which the edges begin that end at a rank's nodes, rank by rank."""
    owner = np.empty(graph.num_points_global, np.int64)
    for rank, nodes in enumerate(MPI.Intracomm.allgather(graph.comm, graph.nodes.tolist())):
        owner[nodes] = rank
    needed = {(begin, owner[end]) for begin, end in edges.T.tolist() if owner[begin] != owner[end]}
    return 2 * len(needed) * features * torch.float32.itemsize
