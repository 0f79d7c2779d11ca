"""Several steps of a model have the gradient of calculus, on any ranks, through all steps or the last; averages and restarts are exact."""

import pytest
import torch

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.data import Pairs
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer
from hpcml.models.layers import Conv2d
from hpcml.runs.experiment import check_steps
from hpcml.training import Trainer, h1, mse
from hpcml.training.step_losses import step_losses

SHAPE = (8, 6)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("push_forward", [False, True])
def test_the_gradient_of_a_number_that_is_multiplied(comm, push_forward):
    w, targets = 1.25, (0.5, 2.0, 3.0)
    with decompose(Grid(SHAPE), comm) as domain:
        model = Conv2d(domain, 1, 1, 1, bias=False).double()
        torch.nn.init.constant_(model.weight, w)
        x = torch.ones(2, 1, *domain.local_shape, dtype=torch.float64)
        y = torch.stack([t * x for t in targets], 1)
        terms = [term.detach() for term in step_losses(model, mse, domain, x, y, push_forward) if term.backward() is None]
    slopes = [k * w ** (k - 1) if not push_forward else w ** (k - 1) for k in (1, 2, 3)]
    assert len(terms) == (3 if push_forward else 1)
    assert float(sum(terms)) == pytest.approx(sum((w**k - t) ** 2 for k, t in enumerate(targets, 1)) / 3, rel=1e-12)
    slope = sum(2 * (w**k - t) * s for k, (t, s) in enumerate(zip(targets, slopes, strict=True), 1)) / 3
    assert float(model.weight.grad) == pytest.approx(slope, rel=1e-12)


def trainer(domain, push_forward, **options):
    torch.manual_seed(0)
    model = Conv2d(domain, 1, 1, 3, padding=1, padding_mode="circular").double()
    states = [torch.randn(2, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))]
    for _ in range(5):
        states.append(0.5 * states[-1] + 0.4 * states[-1].roll(1, -1))
    pairs = Pairs.of_trajectories(domain, torch.stack(states, 1), steps=3)
    assert pairs.num_samples == 2 * 3 and pairs.num_channels == (1, 1) and pairs.typical()[1].shape == pairs.inputs.shape
    valid = Pairs.of_trajectories(domain, torch.stack(states, 1))
    settings = {
        "loss": h1,
        "steps": 3,
        "push_forward": push_forward,
        "ema": 0.9,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "dtype": "float64",
    }
    return Trainer(model, pairs, valid, **{**settings, **options})


def everything(run):
    return [*run.model.state_dict().values(), *run.average.state_dict()["values"].values()]


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("push_forward", [False, True])
def test_over_ranks_after_a_stop_and_averaged(comm, shared_path, push_forward):
    with decompose(Grid(SHAPE), comm) as domain:
        whole = trainer(domain, push_forward)
        loss = whole.fit(epochs=2)
        alone = trainer(domain.serial(), push_forward)
        assert alone.fit(epochs=2) == pytest.approx(loss, rel=1e-10)
        for ours, expected in zip(everything(whole), everything(alone), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)  # sums in another order
        with whole.averaged():
            mean = [p.detach().clone() for p in whole.model.parameters()]
        assert not any(torch.equal(a, b) for a, b in zip(mean, whole.model.parameters(), strict=True))
        assert loss != Trainer(whole.model, whole.valid, loss=h1, batch_size=2).evaluate(whole.valid)  # the loss is that of the mean
        first = trainer(domain, push_forward, checkpointer=Checkpointer(shared_path / "checkpoints", comm, lazy=True), epochs=2)
        first._stop = type("Stop", (), {"agreed": lambda self: first.step == 4})()
        first.fit()
        first.checkpointer.close()
        second = trainer(domain, push_forward, folder=shared_path)
        assert second.fit(epochs=2) == loss and first.step == 4
        assert all(torch.equal(a, b) for a, b in zip(everything(second), everything(whole), strict=True))


def test_mistakes_are_told(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        with pytest.raises(ConfigError, match=r"training\.steps = 2, and each target holds 3"):
            trainer(domain, False, steps=2).fit(epochs=1)
        with pytest.raises(ConfigError, match="push_forward = true cuts gradients between steps, and steps = 1"):
            trainer(domain, True, steps=1)
    simulation, grid = {"kind": "simulation"}, {"shape": [8, 8]}
    for tables in ({"data": {"kind": "dataset", "path": "a", "stride": 0}}, {"data": simulation, "grid": grid, "equation": "darcy"}):
        case = complete_config({**tables, "model": "fno", "training": {"steps": 2}}, Case, "case")
        with pytest.raises(ConfigError, match=r"training\.steps = 2 lets the model go on from what it predicts"):
            check_steps(case)
