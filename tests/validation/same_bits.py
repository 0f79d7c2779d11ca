"""One SHA-256 of everything that a training leaves behind, to be printed on any number of ranks, with any MPI, and after any restart.

    mpiexec -n 3 python tests/validation/same_bits.py
    mpiexec -n 2 python tests/validation/same_bits.py --folder /tmp/run --updates 90        stops there
    mpiexec -n 3 python tests/validation/same_bits.py --folder /tmp/run                     goes on

    python tests/validation/same_bits.py --cost 12000       processor time of one rank over that without tiles, for so many nodes

Each line: model, dtype, SHA-256 of parameters, of the optimiser's state and of a roll-out of 50 steps, after 200 updates of Adam.
"""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

from hpcml.core.malloc import keep_results_below
from hpcml.data import Pairs
from hpcml.graphs import Graph
from hpcml.models import MeshGraphNet, MeshTransformer, PhysicsAttentionNet
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import block_range
from hpcml.training import Trainer
from hpcml.training.loss import mse

NODES, ROLLOUT = 240, 50
MODELS = {
    "MeshGraphNet": lambda g: MeshGraphNet(g, 2, 2, channels=12, steps=2),
    "mesh transformer": lambda g: MeshTransformer(g, 2, 2, channels=16, layers=2, heads=2, tokens=2, rotary=2.0),
    "physics attention": lambda g: PhysicsAttentionNet(g, 2, 2, channels=12, layers=2, heads=2, slices=6, attention="adaptive"),
    "Ewald": lambda g: MeshGraphNet(g, 2, 2, channels=12, steps=2, cutoff=9.0),
}


WIDE = {
    "MeshGraphNet": lambda g: MeshGraphNet(g, 2, 2, channels=128, steps=3),
    "mesh transformer": lambda g: MeshTransformer(g, 2, 2, channels=128, layers=3),
    "physics attention": lambda g: PhysicsAttentionNet(g, 2, 2, channels=128, layers=3, slices=32),
    "Ewald": lambda g: MeshGraphNet(g, 2, 2, channels=128, steps=3, cutoff=9.0),
}


def triangulation(comm, count=NODES, same_bits=True):
    """A graph that each rank reads a part of."""
    points = np.random.default_rng(0).random((count, 2))
    cells = Delaunay(points).simplices
    edges = np.unique(np.concatenate([cells[:, [i, j]] for i in range(3) for j in range(3) if i != j]), axis=0).T
    mine, share = (block_range(n, comm.size, comm.rank) for n in (count, edges.shape[1]))
    return Graph.deal(points[mine.start : mine.stop], edges[:, share.start : share.stop], comm, same_bits=same_bits)


def sha(*tensors):
    return hashlib.sha256(b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def bits(graph, build, dtype, updates, folder):
    torch.manual_seed(0)
    model = build(graph).to(dtype)
    x = torch.randn(8, NODES, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = Pairs.of_whole(graph, x.to(dtype), x.roll(1, 2).sin().to(dtype))
    settings = {"loss": "mse", "optimiser": "torch.optim:Adam", "learning_rate": 1e-3, "schedule": "constant", "batch_size": 2, "clip": 1.0}
    trainer = Trainer(model, pairs, folder=folder, **settings)
    trainer.fit(updates=updates)
    u, state = x[0].to(dtype)[graph.nodes], [v for values in trainer.optimiser.state.values() for v in values.values()]
    model.eval()
    with torch.no_grad():
        for _ in range(ROLLOUT):
            u = u + 0.01 * model(u)
    field = torch.empty(NODES, 2, dtype=dtype)
    for nodes, rows in patient(graph.comm).allgather((graph.nodes, u)):
        field[nodes] = rows
    return sha(*model.parameters()), sha(*state), sha(field)


def seconds(graph, model):
    """Processor time of a forward and a backward pass."""
    x, start = torch.ones(1, len(graph.nodes), 2), time.process_time()
    mse(graph, model(x), x).backward()
    return time.process_time() - start


def cost(count):
    """In turn, so that what else goes on meets both; results stay in the process, which else is a matter of chance."""
    keep_results_below(32 << 20)
    graphs = [triangulation(MPI.COMM_SELF, count, same_bits) for same_bits in (True, False)]
    for name, build in WIDE.items():
        models = [(graph, build(graph)) for graph in graphs]
        taken = np.array([[seconds(*each) for each in models] for _ in range(12)][2:])
        least, middle = (of(taken, 0) for of in (np.min, np.median))
        figures = f"{least[0] / least[1]:.2f} of the least times, {middle[0] / middle[1]:.2f} of the medians"
        print(f"{name}, {count} nodes, {graphs[0].tiles.total} tiles: {figures}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--folder", help="of run directories, to go on from and to stop in")
    parser.add_argument("--only", choices=MODELS, help="one model; by default all")
    parser.add_argument("--cost", type=int, help="nodes")
    args, comm = parser.parse_args(), MPI.COMM_WORLD
    if args.cost:
        cost(args.cost)
        return
    with triangulation(comm) as graph:
        for name, build in MODELS.items() if args.only is None else [(args.only, MODELS[args.only])]:
            for dtype in (torch.float32, torch.float64):
                folder = None if args.folder is None else Path(args.folder) / f"{name} {dtype}".replace(" ", "_")
                found = bits(graph, build, dtype, args.updates, folder)
                if comm.rank == 0:
                    print(f"{name}, {str(dtype).removeprefix('torch.')}:", *found, flush=True)


if __name__ == "__main__":
    main()
