"""Who compiles nothing does not wait for the compiler; who does finds what torch has closed to it closed."""

import pickle
import subprocess
import sys

import pytest
import torch

from hpcml.training.compiler_import import without_compiler

CODE = """
import sys
import numpy as np
import torch
from mpi4py import MPI
from hpcml.data import Pairs
from hpcml.fields import Grid, decompose
from hpcml.graphs import Graph, triangulated
from hpcml.models import FNO, MeshGraphNet, MeshTransformer, PhysicsAttentionNet, UNet
from hpcml.training import Trainer

domain = decompose(Grid((16, 16)), MPI.COMM_SELF)
mesh = triangulated(np.random.default_rng(0).random((30, 2)))
graph = Graph.deal(mesh.points, mesh.edges(), MPI.COMM_SELF)
grids, meshes = Pairs.of_whole(domain, *torch.randn(2, 2, 1, 16, 16)), Pairs.of_whole(graph, *torch.randn(2, 2, 30, 1))
made = [
    (FNO(domain, 1, 1, channels=4, modes=3), grids, "adamw"),
    (UNet(domain, 1, 1, channels=4, levels=1), grids, "torch.optim:SGD"),
    (MeshGraphNet(graph, 1, 1, channels=4, steps=1), meshes, "adamw"),
    (MeshTransformer(graph, 1, 1, channels=4), meshes, "adamw"),
    (PhysicsAttentionNet(graph, 1, 1, channels=8, heads=2), meshes, "adamw"),
]
for model, pairs, name in made:
    trainer = Trainer(model, pairs, optimiser=name)
    trainer.fit(epochs=1)
    state = trainer.optimiser.state_dict()
    trainer.optimiser.load_state_dict(state)
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules

import torch._dynamo
closed, broken = [], []
torch._dynamo.disable = lambda function, *args, **kwargs: closed.append(function.__name__) or function
torch._dynamo.graph_break = lambda: broken.append(1)
trainer.optimiser.load_state_dict(state)
trainer.optimiser.zero_grad()
trainer.optimiser.step()
assert closed == ["load_state_dict", "zero_grad"] and len(broken) == 2, (closed, broken)
"""


def test_it_is_imported_by_those_who_compile():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.LBFGS, torch.optim.RMSprop])
def test_it_computes_the_same(kind, monkeypatch):
    found = []
    for each in (kind, without_compiler(kind)):
        x = torch.linspace(-1, 1, 5, requires_grad=True)
        optimiser = each([x], lr=0.1)
        assert isinstance(optimiser, kind) and f"{type(optimiser)}" == f"{kind}"
        if each is not kind:
            monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
        for _ in range(3):

            def gradient(x=x, optimiser=optimiser):
                optimiser.zero_grad()
                loss = (x - 3).square().sum() + x.cos().sum()
                loss.backward()
                return loss

            optimiser.step(gradient)
        optimiser.load_state_dict(optimiser.state_dict())
        assert type(pickle.loads(pickle.dumps(optimiser))) is kind
        found.append(x)
    assert torch.equal(*found)
