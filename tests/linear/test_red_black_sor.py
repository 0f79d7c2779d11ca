"""Red-black SOR solves Poisson's equation, with the same bits on any number of ranks."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError, SolverError
from hpcml.fields import Grid, decompose
from hpcml.linear import red_black_sor
from hpcml.linear.red_black_sor import best_omega

GRIDS = [
    Grid((17, 14), periodic=False),
    Grid((12, 9), extent=(1.0, 2.0), periodic=(True, False)),
    Grid((8, 6, 7), periodic=(False, True, False)),
]


def source(grid):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *grid.shape, dtype=torch.float64, generator=generator)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: str(g.shape))
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_any_number_of_ranks_gives_the_same_bits(comm, grid, shift):
    f = source(grid)
    with decompose(grid, comm) as domain:
        ours = red_black_sor(f[domain.index].contiguous(), domain, shift=shift, tolerance=1e-11)
        assert torch.equal(ours, red_black_sor(f, domain.serial(), shift=shift, tolerance=1e-11)[domain.index])
        wide = domain.halo(ours)[0]
        near = [dx**-2 for dx in grid.spacing]
        inner = [slice(1, -1)] * grid.num_dims
        image = (-2 * sum(near) - shift) * ours
        for d, weight in enumerate(near):
            for side in (slice(None, -2), slice(2, None)):
                image = image + weight * wide[(..., *inner[:d], side, *inner[d + 1 :])]
        # The tolerance, relative to the largest source, and the round-off of the operator.
        assert (image - f[domain.index]).abs().max() < 2e-11 * f.abs().max()


@pytest.mark.parallel([1, 2])
def test_the_best_omega_needs_about_as_many_sweeps_as_cells_along_a_dim(comm):
    n = 48
    grid = Grid((n, n), extent=float(n + 1), periodic=False)
    with decompose(grid, comm) as domain:
        assert best_omega(domain) == pytest.approx(2 / (1 + math.sin(math.pi / (n + 1))))
        f = torch.ones(1, 1, *domain.local_shape, dtype=torch.float64)
        # Young: a factor omega - 1 = exp(-2 pi / 49) per sweep; ln(1e8) of it are 144 sweeps, and as many again for the transient.
        u = red_black_sor(f, domain, most_sweeps=288)
        with pytest.raises(SolverError, match="after 288 sweeps with omega = 1.0000"):
            red_black_sor(f, domain, omega=1.0, most_sweeps=288)
        assert torch.equal(red_black_sor(f, domain, start=u, most_sweeps=0), u)


def test_what_has_no_solution_is_named(comm):
    f = torch.ones(1, 1, 4, 4)
    with decompose(Grid((4, 4)), comm) as domain:
        with pytest.raises(ConfigError, match="positive shift"):
            red_black_sor(f, domain)
        with pytest.raises(ConfigError, match="0 < omega < 2, got 2"):
            red_black_sor(f, domain, shift=1.0, omega=2.0)
    with decompose(Grid((4,)), comm) as line, pytest.raises(ShapeError, match="two and three dims, got 1"):
        red_black_sor(torch.ones(1, 1, 4), line)


@pytest.mark.parallel([1, 2])
def test_a_source_that_is_no_number_ends_on_every_rank(comm):
    with decompose(Grid((6, 6), periodic=False), comm) as domain:
        f = torch.ones(1, 1, *domain.local_shape)
        f[..., 0, 0] = float("nan") if comm.rank == 0 else 1.0
        with pytest.raises(SolverError, match="residual nan"):
            red_black_sor(f, domain)
