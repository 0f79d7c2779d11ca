"""Training on any ranks and groups is the serial training; a run that stops and comes back is the run that never stopped; NaN ends it."""

import pytest
import torch
from torch import nn

from hpcml.core.case import Training
from hpcml.core.errors import TrainingError
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer
from hpcml.models.layers import Conv2d
from hpcml.training.dataset import Pairs
from hpcml.training.loss import LOSSES
from hpcml.training.trainer import Trainer

SHAPE = (8, 6)


def pairs(domain, num_samples=12, dtype=torch.float64):
    whole = torch.randn(num_samples, 1, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Pairs(domain, whole[domain.index], whole.roll(1, -1)[domain.index])


def trainer(domain, folder, data=None, **changes):
    torch.manual_seed(0)
    model = nn.Sequential(
        Conv2d(domain, 1, 4, 3, padding=1, padding_mode="circular"), nn.GELU(), Conv2d(domain, 4, 1, 3, padding=1, padding_mode="circular")
    ).double()
    spec = Training(**{"epochs": 3, "batch_size": 6, "learning_rate": 1e-2, "clip": 1.0, **changes})
    data = data or pairs(domain)
    empty = Pairs(domain, data.inputs[:0], data.targets[:0])
    return Trainer(model, data, empty, spec, LOSSES[spec.loss], Checkpointer(folder, domain.world_comm))


def parameters_after(domain, folder, **changes):
    run = trainer(domain, folder, **changes)
    run.fit()
    run.checkpointer.close()
    return [p.detach().clone() for p in run.model.parameters()]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_any_factorisation_of_the_ranks_is_the_serial_run(comm, shared_path, accumulate):
    with decompose(Grid(SHAPE), comm) as domain:
        serial = parameters_after(domain.serial(), shared_path / f"serial{comm.rank}", accumulate=1)
    for data in [d for d in range(1, comm.size + 1) if comm.size % d == 0 and 6 // accumulate >= d]:
        with decompose(Grid(SHAPE), comm, data=data) as domain:
            ours = parameters_after(domain, shared_path / f"data{data}", accumulate=accumulate)
        for a, b in zip(ours, serial, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)  # the bar for 20 Adam steps; six are taken here


@pytest.mark.parallel([1, 2])
def test_a_run_that_comes_back_is_the_run_that_never_stopped(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        expected = parameters_after(domain, shared_path / "whole")
        first = trainer(domain, shared_path / "parts")
        for parts in first.schedule.updates(0):
            first._update(parts, _sums())
            break
        first.checkpointer.save(first.step)
        first.checkpointer.wait()
        first.checkpointer.close()
        second = trainer(domain, shared_path / "parts")
        assert second.checkpointer.restore().step == 1 and second.step == 1
        second.fit()
        second.checkpointer.close()
        assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), expected, strict=True))


def _sums():
    from hpcml.training.trainer import _Sums

    return _Sums()


@pytest.mark.parallel([1, 2])
def test_nan_ends_training_on_every_rank_and_names_step_and_checkpoint(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        data = pairs(domain)
        data.inputs[data.inputs.shape[0] - 1 :] = float("nan") if comm.rank == 0 else data.inputs[-1:]
        run = trainer(domain, shared_path / "nan", data=data, batch_size=1)
        run.checkpointer.save(0)
        with pytest.raises(TrainingError, match=r"diverged at step \d+: loss nan.*checkpoint is that of step 0"):
            run.fit()
        run.checkpointer.close()
