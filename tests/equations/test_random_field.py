"""Random fields are normal, normalised and of the resolution's making only in where they are evaluated."""

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.equations.random_field import random_field
from hpcml.fields import Grid, decompose


def flat(waves):
    return torch.ones_like(waves)


@pytest.mark.parametrize("periodic", [True, False])
def test_a_finer_grid_sees_the_same_field(comm, periodic):
    coarse, fine = (decompose(Grid((n, n), (1.0, 2.0), periodic), comm) for n in (9, 27))
    fields = [random_field(d, range(3), 2, ("test", 0), flat, num_waves=4) for d in (coarse, fine)]
    # Every third centre of the finer grid is one of the coarser; sums of some 80 cosines of order 1 differ by round-off.
    assert torch.allclose(fields[0], fields[1][..., 1::3, 1::3], atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_mean_0_and_root_mean_square_1(comm, periodic):
    field = random_field(decompose(Grid((16, 18), periodic=periodic), comm), range(5), 2, ("test", 1), flat, num_waves=5)
    assert field.mean((-2, -1)).abs().max() < 1e-14  # round-off: sampled waves below Nyquist are exactly orthogonal
    assert torch.allclose(field.square().mean((-2, -1)), torch.ones(5, 2, dtype=torch.float64), atol=1e-13)


def test_the_spectrum_decides_how_rough(comm):
    domain = decompose(Grid((64,)), comm)
    smooth = random_field(domain, range(50), 1, ("test", 2), lambda k: torch.exp(-((k / 2) ** 2)), num_waves=20)
    rough = random_field(domain, range(50), 1, ("test", 2), flat, num_waves=20)
    # Mean square slopes go as the mean of k²: at most 2 against about 140.
    assert rough.diff(dim=-1).square().mean() > 30 * smooth.diff(dim=-1).square().mean()


def test_more_waves_change_no_coefficient(comm):
    domain = decompose(Grid((32,)), comm)
    few, many = (random_field(domain, range(2), 1, ("test", 3), lambda k: (k <= 3).double(), n) for n in (3, 9))
    assert torch.allclose(few, many, atol=1e-14)


def test_too_many_waves_are_named(comm):
    with pytest.raises(ShapeError, match="1201"):
        random_field(decompose(Grid((8,)), comm), range(1), 1, ("test", 0), flat, num_waves=600)
