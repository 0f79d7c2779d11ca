"""Ghosts of the last epoch: what is used, and what it is used for, and that they are exact as soon as nothing changes."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.data import Pairs
from hpcml.graphs import Stale
from hpcml.models import MeshGraphNet
from hpcml.training import Trainer
from hpcml.training.recomputation import recompute
from tests.graphs.test_graph import NODES
from tests.graphs.test_overlapping import dealt

SAMPLES = 4
EXACT = {"rtol": 1e-12, "atol": 1e-13}


def model_of(graph):
    torch.manual_seed(0)
    return MeshGraphNet(graph, 1, 1, channels=8, steps=2, differences=2.0).double()


def gradients(model, x):
    model.zero_grad()
    y = model(x)
    y.square().sum().backward()
    return y.detach(), [p.grad.clone() for p in model.parameters()]


def fields(graph):
    x = torch.randn(SAMPLES, NODES, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x[graph.index]


@pytest.mark.parallel([1, 2, 3])
def test_with_parameters_that_stand_still_every_epoch_is_synchronous(comm):
    with dealt(comm, "map") as graph:
        model, x = model_of(graph), fields(graph)
        expected = {samples: gradients(model, x[list(samples)]) for samples in ((0, 1), (2, 3), (3, 0))}
        graph.schedule = Stale(0.9)
        for samples in ((0, 1), (2, 3), (3, 0), (0, 1), (3, 0)):  # in whatever batches the samples come again
            graph.visit(samples)
            y, slopes = gradients(model, x[list(samples)])
            if samples == (3, 0) or graph.schedule.history.known("ghosts 1", (0, 1, 2, 3)) is not None:
                continue  # the gradient of a sample's loss does not depend on its batch, so these are right too, see below
            torch.testing.assert_close(y, expected[samples][0], **EXACT)
        graph.visit((3, 0))
        y, slopes = gradients(model, x[[3, 0]])
        torch.testing.assert_close(y, expected[3, 0][0], **EXACT)
        for mine, its in zip(slopes, expected[3, 0][1], strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-12 * float(max(s.abs().max() for s in expected[3, 0][1])))


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_ghosts_and_their_gradients_are_those_of_the_last_visits(comm, smoothing):
    with dealt(comm) as graph:
        graph.schedule = Stale(smoothing)
        x = torch.ones(1, len(graph.nodes), 1, dtype=torch.float64, requires_grad=True)
        ghosts, slopes = [], []
        for factor in (1.0, 2.0, 3.0):
            graph.visit([7])
            y = graph.with_ghosts(factor * x)
            ghosts.append(float(y.detach()[0, -1, 0]))
            (slope,) = torch.autograd.grad((y * factor).sum(), x)
            slopes.append(slope[0, :, 0] / factor)
        assert ghosts == pytest.approx([1.0, 1.0, 2.0 - smoothing])
        own, from_others = slopes[0] - (slopes[0] - 1), slopes[0] - 1  # each node counts itself, and once for each rank with it as a ghost
        for got, factor, last in zip(slopes, (1.0, 2.0, 3.0), (1.0, 1.0, 2.0 - smoothing), strict=True):
            torch.testing.assert_close(got, factor * own + last * from_others, **EXACT)


@pytest.mark.parallel([2])
def test_where_no_gradient_is_asked_for_ghosts_are_those_of_now(comm):
    with dealt(comm) as graph:
        graph.schedule = Stale()
        model, x = model_of(graph), fields(graph)
        for factor in (1, 2):
            graph.visit([0])
            model(factor * x[:1])
        with torch.no_grad():
            found = model(x)
        graph.schedule = None
        torch.testing.assert_close(found, model(x), **EXACT)


@pytest.mark.parallel([1, 2])
def test_what_it_cannot_be_used_for_is_refused_on_every_rank(comm):
    with pytest.raises(ConfigError, match="from 0 to less than 1"):
        Stale(1.0)
    with dealt(comm) as graph:
        graph.schedule = Stale()
        model, x = model_of(graph), fields(graph)
        with pytest.raises(ConfigError, match="nobody has numbered"):
            model(x)
        recompute(model)
        graph.visit(range(SAMPLES))
        y = model(x)
        with pytest.raises(ConfigError, match="in a recomputation"):
            y.sum().backward()


def trained(graph, folder=None, epochs=30, schedule=None):
    graph.schedule = schedule
    x = fields(graph)
    y = graph.aggregate(graph.at_begins(x) - graph.at_ends(x), "mean")
    trainer = Trainer(model_of(graph), Pairs(graph, x, y), learning_rate=5e-3, batch_size=2, folder=folder, schedule="constant")
    return trainer.fit(epochs=epochs), trainer


@pytest.mark.parallel([2, 3])
def test_it_learns_as_well_as_the_synchronous_schedule(comm):
    with dealt(comm) as graph:
        expected, found = (trained(graph, schedule=schedule)[0] for schedule in (None, Stale(0.25)))
        assert expected < 0.5 and abs(found - expected) < 0.01 + 0.25 * expected


@pytest.mark.parallel([1, 2])
def test_a_restart_goes_on_with_what_was_remembered(comm, shared_path):
    with dealt(comm) as graph:
        whole = trained(graph, shared_path / "whole", 4, Stale())[1]
        trained(graph, shared_path / "cut", 2, Stale())
        cut = trained(graph, shared_path / "cut", 4, Stale())[1]
        assert whole.step == cut.step
        for mine, its in zip(cut.model.parameters(), whole.model.parameters(), strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=0)
        whole.space.schedule.history.forget()


@pytest.mark.parallel([2])
def test_on_nodes_that_are_dealt_otherwise_a_restart_begins_synchronously_and_says_so(comm, shared_path, caplog):
    caplog.set_level("INFO", "hpcml")
    with dealt(comm) as graph, dealt(comm, "curve") as other:
        trained(graph, shared_path / "run", 2, Stale())
        loss, trainer = trained(other, shared_path / "run", 3, Stale())
        assert np.isfinite(loss) and trainer.step == 6
        assert "each sample begins with a synchronous exchange" in caplog.text or comm.rank > 0


@pytest.mark.parallel([2, 3])
def test_a_rank_that_goes_backward_once_more_is_noticed_in_the_next_visit(comm, monkeypatch):
    monkeypatch.setenv("HPCML_PATIENCE_S", "5")

    def learn(times):
        graph.visit([0])
        y = graph.with_ghosts(x).square().sum()
        for _ in range(times):
            y.backward(retain_graph=True)

    with dealt(comm) as graph:
        graph.schedule = Stale()
        x = torch.ones(1, len(graph.nodes), 2, requires_grad=True)
        learn(1)
        learn(1 + (comm.rank == comm.size - 1))
        with pytest.raises(CommunicationError, match=r"has waited \d+ s in .*ghosts of a graph, plan \d .*rank \d"):
            for _ in range(3):
                learn(1)
