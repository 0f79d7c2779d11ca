"""Fields that differ between ranks in what all must agree on are one sentence on every rank, whoever exchanges them."""

from contextlib import nullcontext

import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, LostRankError
from hpcml.core.registry import load
from hpcml.fields import Grid, decompose, difference
from hpcml.models import FNO, layers
from hpcml.parallel import HaloPlan, Layout

TWO = pytest.mark.parallel([2])
SAID = "ranks (disagree about what they (exchange|are doing): |hold different values of the same parameters: )"
USERS = {
    "pool": lambda d: layers.AvgPool2d(d, 3, 1, 1),
    "roll": lambda d: layers.Roll(d, (3, 0)),
    "conv": lambda d: layers.Conv2d(d, 2, 2, 3, padding=1),
    "group": lambda d: layers.GroupNorm(d, 1, 2),
    "spectral": lambda d: layers.SpectralConv(d, 2, 2, 2),
    "fno": lambda d: FNO(d, 2, 1, channels=4, modes=2, layers=1),
    "laplacian": lambda d: lambda x: difference.laplacian(x, d),
    "loss": lambda d: lambda x: load("loss", "relative_l2")(d, x, torch.zeros_like(x)),
}
OTHERWISE = {
    "dtype": (lambda user, x: (user.double() if isinstance(user, torch.nn.Module) else user, x.double()), nullcontext),
    "batch": (lambda user, x: (user, x[:1]), nullcontext),
    "channels": (lambda user, x: (user, x.repeat(1, 2, 1, 1)), nullcontext),
    "autocast": (lambda user, x: (user, x), lambda: torch.autocast("cpu", torch.bfloat16)),
}
CASES = [
    *((user, "dtype") for user in ("pool", "roll", "conv", "spectral", "fno", "laplacian")),
    *((user, "batch") for user in USERS),
    *((user, "channels") for user in ("pool", "roll", "laplacian")),  # layers of a number of channels say themselves what is wrong
    ("conv", "autocast"),
]


def made(name):
    """The user on a domain whose communicator nobody goes on with after an error, and its field."""
    domain = decompose(Grid((8, 8)), MPI.COMM_WORLD.Dup())
    return USERS[name](domain), torch.rand(2, 2, *domain.local_shape)


@TWO
@pytest.mark.parametrize("name, what", CASES)
def test_what_differs_on_one_rank_is_one_error_on_all(comm, name, what):
    user, x = made(name)
    change, around = OTHERWISE[what] if comm.rank else (lambda *same: same, nullcontext)
    user, x = change(user, x)
    with around(), pytest.raises(CommunicationError, match=SAID) as error:
        user(x)
    assert "rank 1" in str(error.value) and "\n" not in str(error.value)


@TWO
@pytest.mark.parametrize("backend", ["shared", "mpi"])
@pytest.mark.parametrize("shape, dtype", [((1, 6), torch.float64), ((2, 6), torch.float32)], ids=["dtype", "batch"])
def test_a_halo_of_other_values_is_one_error_on_all(comm, backend, shape, dtype):
    u = torch.zeros(shape, dtype=dtype) if comm.rank else torch.zeros(1, 6)
    with pytest.raises(CommunicationError, match=SAID):
        HaloPlan(MPI.COMM_WORLD.Dup(), Layout.blocks((8,), (2,)), u, periodic=True, backend=backend).exchange(u)


@TWO
@pytest.mark.parametrize("name, what", [("roll", "requires_grad"), ("conv", "requires_grad"), ("conv", "no_grad"), ("fno", "no_grad")])
def test_who_alone_wants_a_gradient_does_not_wait_for_ever(comm, monkeypatch, name, what):
    """Each rank that computes backward ends with a sentence that says where; ranks that do not, do not wait."""
    monkeypatch.setenv("HPCML_PATIENCE_S", "1")
    user, x = made(name)
    alone = comm.rank == (1 if what == "requires_grad" else 0)
    x.requires_grad_(what == "requires_grad" and alone)
    with torch.set_grad_enabled(what == "requires_grad" or alone):
        y = user(x)
    if y.requires_grad:
        with pytest.raises(LostRankError, match="has waited 1 s in .* backward: .* and waits for rank"):
            y.sum().backward()
    else:
        assert not alone
    MPI.COMM_WORLD.Barrier()  # one of MPI
