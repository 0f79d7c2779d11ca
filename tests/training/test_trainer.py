"""Training on any ranks and groups is the serial training; a run that stops and comes back is the run that never stopped; NaN ends it."""

import errno
import os
from contextlib import suppress

import pytest
import torch
from torch import nn

from hpcml.core.errors import CheckpointError, TrainingError
from hpcml.core.training_table import Training
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer, SaveInterval
from hpcml.io.files.remedy import remedy
from hpcml.models.layers import Conv2d
from hpcml.mpi import StopSignal
from hpcml.training.metrics import MetricsWriter
from hpcml.training.saves import Saves
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
    comm = domain.world_comm
    return Trainer(model, data, empty, spec, checkpointer=Checkpointer(folder, comm, lazy=True), stop=StopSignal(comm))


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
def test_a_run_that_is_stopped_within_an_epoch_is_the_run_that_never_stopped(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        expected = parameters_after(domain, shared_path / "whole", batch_size=3)
        for update in (6, 8):  # of 12: the second of an epoch, and the last of one
            first = trainer(domain, shared_path / f"{update}", batch_size=3)
            first._stop.agreed = lambda run=first, last=update: run.step == last
            torch.manual_seed(update)
            first.fit()
            random = torch.get_rng_state()
            first.checkpointer.close()
            assert first.stopped and first.step == update
            second = trainer(domain, shared_path / f"{update}", batch_size=3)
            assert second.checkpointer.restore().step == update
            second.position.seconds = first.position.seconds  # those of rank 0
            assert second.position == first.position
            assert torch.equal(torch.get_rng_state(), random)
            second.fit()
            second.checkpointer.close()
            assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), expected, strict=True))


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("last", [5, None], ids=["stopped", "at its end"])
def test_rows_that_a_full_disk_refused_are_those_of_the_run_that_goes_on_from_memory(comm, shared_path, monkeypatch, last):
    """The checkpoint follows them, so that they are not computed again."""

    def fit(last):
        with decompose(Grid(SHAPE), comm) as domain:
            run = trainer(domain, shared_path / "run")
            run._stop.agreed = lambda: run.step == last
            restored = run.checkpointer.restore()
            with MetricsWriter(shared_path, restored and run.position.told, run.position.unwritten) as metrics:
                run.metrics = metrics if comm.rank == 0 else None
                with suppress(CheckpointError):
                    run.fit()
            run.checkpointer.close()

    with monkeypatch.context() as patch:
        patch.setattr("hpcml.training.metrics.write_file", refuse)
        fit(last)
    assert not (shared_path / "metrics.csv").exists()
    fit(None)
    comm.Barrier()
    assert [line.partition(",")[0] for line in (shared_path / "metrics.csv").read_text().splitlines()] == ["step", "2", "4", "6"]


def refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parallel([1, 2])
def test_buffers_that_change_in_the_forward_pass_are_saved_as_they_were(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, shared_path / "run")
        run.model.register_buffer("calls", torch.zeros(1))
        run.model.register_forward_pre_hook(lambda model, inputs: model.calls.add_(1) and None)
        run.fit()
        run.checkpointer.close()
        (again := trainer(domain, shared_path / "run")).model.register_buffer("calls", torch.zeros(1))
        assert again.checkpointer.restore().step == 6 and float(again.model.calls) == 6
        again.checkpointer.close()


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


@pytest.mark.parametrize(("noisy", "lower"), [(True, "training.learning_rate or training.noise"), (False, "training.learning_rate")])
def test_a_training_that_diverged_says_what_may_be_too_large(comm, noisy, lower):
    said = str(Saves(None, comm, 0.1).diverged(0, "loss inf, gradient norm nan", noisy))
    assert f"Lower {lower}, set training.clip, or look in the data for NaN, and for values so far from one that they need another" in said


@pytest.mark.parallel([1, 2])
def test_what_the_last_update_spoils_shows_in_the_loss_on_held_out_data(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        data = pairs(domain)
        run = trainer(domain, shared_path / "spoilt", data=data, updates=1)
        run.valid = data
        run.optimiser.register_step_post_hook(lambda *_: next(run.model.parameters()).data.fill_(torch.nan))
        with pytest.raises(
            TrainingError, match="diverged at step 1: loss nan on held-out data; the last good checkpoint is that of step 0"
        ):
            run.fit()
        run.checkpointer.close()


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("number, goes_on", [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_a_disk_without_room_does_not_end_a_run_that_learns(comm, shared_path, monkeypatch, caplog, number, goes_on):
    with decompose(Grid(SHAPE), comm) as domain:
        run, real = trainer(domain, shared_path / str(number), batch_size=3), Checkpointer.save
        refusals = [False, *[True] * 4, *[False] * 20]

        def save(self, step):
            if refusals.pop(0):
                raise CheckpointError(f"writing step-7 failed: full{remedy(number)}")
            real(self, step)

        monkeypatch.setattr(Checkpointer, "save", save)
        monkeypatch.setattr(SaveInterval, "after_step", lambda self, step: self._checkpointer.save(step))
        if goes_on:
            run.fit()
            assert run.checkpointer.latest() == 12
            assert sum("training goes on" in text for text in caplog.messages) == (comm.rank == 0)
        else:
            with pytest.raises(CheckpointError, match="the line to it fails"):
                run.fit()
        run.checkpointer.close()


@pytest.mark.parallel([1, 2])
def test_the_end_is_saved_although_an_earlier_save_was_not(comm, shared_path, monkeypatch):
    with decompose(Grid(SHAPE), comm) as domain:
        run, real, refusals = trainer(domain, shared_path / "run"), Checkpointer.save, []

        def save(self, step):
            if step == 6 and not refusals:
                refusals.append(step)
                raise CheckpointError(f"writing step-5 failed: full{remedy(errno.ENOSPC)}")
            real(self, step)

        monkeypatch.setattr(Checkpointer, "save", save)
        monkeypatch.setattr(SaveInterval, "after_step", lambda self, step: False)
        run.fit()
        assert refusals == [6] and run.checkpointer.latest() == 6
        run.checkpointer.close()


@pytest.mark.parallel([1, 2])
def test_an_end_that_only_memory_held_is_saved_by_the_next_start(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, shared_path / "run")
        run.position.step = 6  # as if restored from there
        run.fit()
        assert run.step == 6 and run.checkpointer.latest() == 6
        run.checkpointer.close()
