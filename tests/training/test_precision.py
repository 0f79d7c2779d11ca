"""Training in 16 bits: only the network computes in them, a restart is exact, and float16's overflows cost an update each."""

import pytest
import torch

from hpcml.core.case import Case
from hpcml.core.config import load_config
from hpcml.core.errors import ConfigError, TrainingError
from hpcml.core.training_table import Training
from hpcml.data.moments import moments
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer
from hpcml.models import FNO, UNet
from hpcml.models.surrogate import Surrogate
from hpcml.mpi import StopSignal
from hpcml.runs.experiment import build_surrogate
from hpcml.training.trainer import Trainer

SHAPE = (14, 12)
HALF = pytest.mark.parametrize("precision", ["bfloat16", "float16"])
NETWORKS = {
    "fno": lambda domain: FNO(domain, channels=6, modes=3, layers=2, norm="group"),
    "unet": lambda domain: UNet(domain, channels=4, levels=2),
}


def trainer(domain, folder, precision, network="unet", scale=None, **changes):
    torch.manual_seed(0)
    whole = torch.randn(8, 1, *SHAPE, generator=torch.Generator().manual_seed(1)) * 3 + 100
    data = Pairs(domain, whole[domain.index], whole.roll(1, -1)[domain.index])
    model = Surrogate(NETWORKS[network](domain), 1, 1, True, None if precision == "float32" else getattr(torch, precision))
    model.fit_to(moments(domain, data.inputs), moments(domain, data.targets - data.inputs))
    spec = Training(**{"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "precision": precision, **changes})
    comm = domain.world_comm
    run = Trainer(model, data, data, spec, checkpointer=Checkpointer(folder, comm, lazy=True), stop=StopSignal(comm))
    if scale is not None:
        run.update.scaler.load_state_dict(run.update.scaler.state_dict() | {"scale": scale})
    return run


def stop_at(run, update):
    run._stop.agreed = lambda: run.step == update
    run.fit()
    run.checkpointer.close()


@HALF
@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_only_the_network_computes_in_16_bits(comm, shared_path, precision, network):
    with decompose(Grid(SHAPE), comm) as domain:
        run, seen = trainer(domain, shared_path / "run", precision, network), []
        run.model.network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        loss = run.fit()
        run.checkpointer.close()
        x, y = run.train.take(torch.arange(2))
        assert set(seen) == {getattr(torch, precision)}
        assert run.model(x).dtype == torch.float32 and run.loss(domain, run.model(x), y).dtype == torch.float64
        states = [t for state in run.optimiser.state.values() for t in state.values()]
        assert {t.dtype for t in [*run.model.parameters(), *states]} == {torch.float32}
        plain = trainer(domain, shared_path / "float32", "float32", network)
        # Rounding to 2^-9 at a dozen places, after six updates: the same descent, to some percent.
        assert loss == pytest.approx(plain.fit(), rel=0.1)
        plain.checkpointer.close()


@HALF
@pytest.mark.parallel([1, 2])
def test_a_run_that_is_stopped_is_the_run_that_never_stopped(comm, shared_path, precision):
    with decompose(Grid(SHAPE), comm) as domain:
        scale = 2.0**24 if precision == "float16" else None  # the first updates leave float16
        expected = trainer(domain, shared_path / "whole", precision, scale=scale, epochs=8)
        expected.fit()
        expected.checkpointer.close()
        stop_at(trainer(domain, shared_path / "run", precision, scale=scale, epochs=8), 11)
        second = trainer(domain, shared_path / "run", precision, epochs=8)
        assert second.checkpointer.restore().step == 11
        second.fit()
        second.checkpointer.close()
        assert second.update.scaler.state_dict() == expected.update.scaler.state_dict()
        assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), expected.model.parameters(), strict=True))


@pytest.mark.parallel([1, 2])
def test_an_update_that_leaves_float16_is_left_out(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, shared_path / "run", "float16", scale=2.0**40)
        before = [p.detach().clone() for p in run.model.parameters()]
        stop_at(run, 1)
        assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), before, strict=True))
        assert run.update.scaler.get_scale() == 2.0**39 and run.position.gradient_norm == 0


def test_a_gradient_that_no_scale_brings_back_ends_training(shared_path, comm):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, shared_path / "run", "float16", scale=1.0)
        run.model.network.head.weight.register_hook(lambda gradient: gradient * torch.inf)
        with pytest.raises(TrainingError, match="gradient norm"):
            run.fit()
        run.checkpointer.close()


CASE = """
grid = { shape = [16, 16] }
equation = { name = "heat" }
data = { kind = "simulation" }
model = { name = "unet", channels = 4, levels = 2 }
training = { precision = "bfloat16" }
"""


def test_a_case_builds_such_a_model(tmp_path, comm):
    (tmp_path / "case.toml").write_text(CASE)
    with decompose(Grid((16, 16)), comm) as domain:
        assert build_surrogate(load_config(tmp_path / "case.toml", Case), domain, 1, 1).precision == torch.bfloat16
    with pytest.raises(ConfigError, match="leave one of them out"):
        load_config(tmp_path / "case.toml", Case, ["training.dtype=float64"])
