"""Schedules of one MeshGraphNet over 4 ranks: accuracy, bytes and time, and what pipelines would move on larger meshes.

A network of `STEPS` rounds learns how heat flows along the edges of a mesh of random triangles, from the same parameters and samples by
every schedule. Bytes are those of messages between ranks, of all ranks for one update; the sums of gradients, which all schedules have, and
the broadcast of the output of a pipeline are none. Times are of one thread per rank, the 20th percentile of epochs.

Then it is counted, for `LAYERS` rounds on meshes of `NODES_COUNTED` nodes in P parts by recursive bisection, which moves more:

    parts of the mesh      2 L G C        G: ghosts of all parts, C: channels
    P stages               2 (P - 1) (N + E) C, of which N C are those of nodes, as networks without values on edges have them
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.data import Pairs
from hpcml.graphs import Graph, Mesh, Overlapped, PartitionReport, Schedule, Stale, partition, triangulated
from hpcml.models import MeshGraphNet
from hpcml.mpi.reductions import all_max, all_sum
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World
from hpcml.parallel import Stages
from hpcml.parallel.exchange import traffic
from hpcml.training import Trainer, bubble_share, pipeline

NODES, TRAINING, HELD_OUT, EPOCHS, STEPS, CHANNELS = 400, 8, 4, 40, 6, 16
LAYERS, NODES_COUNTED, PARTS = 15, 8000, (2, 8, 32)
SCHEDULES: dict[str, tuple[Callable[[], Schedule], int, dict[str, int]]] = {
    "synchronous": (Schedule, 1, {}),
    "overlapped": (Overlapped, 1, {}),
    "stale": (Stale, 1, {}),
    "gpipe 4 x 1": (Schedule, 4, {"micro_batches": 4}),
    "gpipe 2 x 2": (Schedule, 2, {"micro_batches": 4}),
    "gnnpipe 4 x 1": (Schedule, 4, {"chunks": 8}),
    "gnnpipe 2 x 2": (Schedule, 2, {"chunks": 4}),
}
"""Schedule of ghosts, stages, and what goes through them; the rest of the ranks shares the mesh."""


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train by every schedule, and count.

    Returns
    -------
    rows, figures
        For each schedule ``error_X``, ``bytes_ratio_X`` and ``time_ratio_X``, the latter two over the synchronous one's. For each mesh
        ``layers_2d_8``, the rounds from which 8 stages move less than 8 parts of the mesh, ``layers_nodes_2d_8``, if nothing lay on edges,
        and ``stages_over_parts_2d_8``, what stages move over what parts do.

    Communication
    -------------
    Collective over world.
    """
    with one_torch_thread():
        rows = [_measure(world.comm, name) for name in SCHEDULES]
    figures: dict[str, Any] = {}
    for row in rows:
        row["bytes_ratio"], row["time_ratio"] = row["MB"] / rows[0]["MB"], row["ms"] / rows[0]["ms"]
        name = row["schedule"].replace(" ", "_")
        figures |= {f"error_{name}": row["error"], f"bytes_ratio_{name}": row["bytes_ratio"], f"time_ratio_{name}": row["time_ratio"]}
    return rows, figures | _counted(world.comm)


def _measure(comm: MPI.Intracomm, name: str) -> dict[str, Any]:
    schedule, number, how = SCHEDULES[name]
    mesh = _mesh(NODES, 2)
    with Stages(comm, number) as stages, Graph.deal(*_dealt(mesh, stages.comm), stages.comm) as graph:
        graph.schedule = schedule()
        torch.manual_seed(0)
        model = MeshGraphNet(graph, 1, 1, CHANNELS, STEPS, 1, differences=8.0)
        steps = pipeline(model, stages, **how) if how else None
        train, test = (_pairs(graph, mesh, numbers) for numbers in (range(TRAINING), range(TRAINING, TRAINING + HELD_OUT)))
        seen, sent, done = [time.perf_counter()], [traffic.bytes], list[tuple[str, int]]()

        def note(_: Trainer) -> None:
            seen.append(time.perf_counter())
            sent.append(traffic.bytes)
            done[:] = [] if steps is None else steps.done

        trainer = Trainer(model, train, batch_size=TRAINING, learning_rate=5e-3, callbacks=[note])
        trainer.fit(epochs=EPOCHS)
        error = trainer.evaluate(test)
        bubble = 0.0 if steps is None else bubble_share(comm.allgather(done)[:: stages.comm.size])
        seconds, numbers = all_max(float(np.quantile(np.diff(seen), 0.2)), comm), all_sum(sent[-1] - sent[-2], comm)
        return {"schedule": name, "error": error, "MB": numbers / 1e6, "ms": 1e3 * seconds, "bubble": bubble}


def _mesh(nodes: int, dims: int) -> Mesh:
    return triangulated(np.random.default_rng(0).random((nodes, dims)))


def _dealt(mesh: Mesh, comm: MPI.Intracomm) -> tuple[np.ndarray, np.ndarray]:
    """All of it, on the first rank."""
    none = slice(None) if comm.rank == 0 else slice(0)
    return mesh.points[none], mesh.edges()[:, none]


def _pairs(graph: Graph, mesh: Mesh, numbers: range) -> Pairs:
    """Waves, and what has become of them when heat has flowed for a while."""
    begin, end = mesh.edges()
    degrees = np.maximum(np.bincount(end, minlength=len(mesh.points)), 1)
    fields: list[tuple[np.ndarray, np.ndarray]] = []
    for number in numbers:
        numbers_of = np.random.default_rng(number)
        u = before = np.sin(mesh.points @ numbers_of.normal(0, 8, 2) + numbers_of.uniform(0, 6))
        for _ in range(3):
            u = u + 0.5 * np.bincount(end, u[begin] - u[end], len(u)) / degrees
        fields.append((before, u))
    x, y = (torch.from_numpy(np.stack(part)).float()[..., None] for part in zip(*fields, strict=True))
    return Pairs(graph, _own(graph, x), _own(graph, y))


def _own(graph: Graph, whole: Tensor) -> Tensor:
    return whole[graph.index]


def _counted(comm: MPI.Intracomm) -> dict[str, float]:
    """Rounds from which stages move less than parts of a mesh."""
    found = {}
    for dims in (2, 3):
        mesh = _mesh(NODES_COUNTED, dims)
        points, edges = _dealt(mesh, comm)
        for parts in PARTS:
            report = PartitionReport.counted(partition(points, edges, parts, comm, "bisection"), edges, parts, comm)
            ghosts, nodes, all_edges = (int(of.sum()) for of in (report.ghosts, report.nodes, report.edges))
            found[f"layers_{dims}d_{parts}"] = (parts - 1) * (nodes + all_edges) / ghosts
            found[f"layers_nodes_{dims}d_{parts}"] = (parts - 1) * nodes / ghosts
            found[f"stages_over_parts_{dims}d_{parts}"] = found[f"layers_{dims}d_{parts}"] / LAYERS
    return found
