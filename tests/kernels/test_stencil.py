"""Stencils against their twins, bit by bit, and against what they mean."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.stencil import bind_star_stencil, star_stencil

SHAPES = [(5, 7), (1, 1), (33, 20), (3, 4, 5), (9, 17, 34)]
WEIGHTS = {2: (-4.2, (1.1, 0.9)), 3: (-6.3, (1.1, 1.0, 0.9))}


def padded(lead, cells, dtype, device, seed):
    return torch.randn((*lead, *(n + 2 for n in cells)), dtype=dtype, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("lead", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cells", SHAPES, ids=str)
def test_star_is_bit_equal_to_shifted_slices(backend, device, cells, dtype, lead):
    u = padded(lead, cells, dtype, device, 0)
    centre, near = WEIGHTS[len(cells)]
    out = torch.empty((*lead, *cells), dtype=dtype, device=device)
    star_stencil(out, u, centre, near)
    inner = (slice(1, -1),) * len(cells)
    expected = centre * u[(..., *inner)]
    for d, weight in enumerate(near):
        low, high = ((..., *inner[:d], part, *inner[d + 1 :]) for part in (slice(0, -2), slice(2, None)))
        expected = expected + weight * (u[low] + u[high])
    assert torch.equal(out, expected)


def test_views_into_larger_arrays_are_written_alone(backend, device):
    block = torch.zeros(2, 6, 9, dtype=torch.float64, device=device)
    u = padded((2,), (4, 5), torch.float64, device, 3)
    star_stencil(block[:, 1:5, 2:7], u, 1.0, (0.0, 0.0))
    assert torch.equal(block[:, 1:5, 2:7], u[:, 1:-1, 1:-1]) and block.count_nonzero() == 40


@pytest.mark.parametrize("cells", [(64, 64, 128), (64, 64, 131), (800, 704)], ids=str)
@pytest.mark.parametrize("margin", [0, 1], ids=["alone", "inside"])
def test_arrays_that_no_cache_holds(backend, device, cells, margin):
    """Rows of whole cache lines are written past the cache, others are fetched ahead: the result is the same."""
    u = padded((), cells, torch.float64, device, 4)
    block = torch.zeros([n + 2 * margin for n in cells], dtype=torch.float64, device=device)
    out = block[tuple(slice(margin, n + margin) for n in cells)]
    star_stencil(out, u, *WEIGHTS[len(cells)])
    expected = torch.empty(cells, dtype=torch.float64, device=device)
    for part in range(0, cells[0], 4):  # parts small enough to be no large arrays
        star_stencil(expected[part : part + 4], u[part : part + 6], *WEIGHTS[len(cells)])
    assert torch.equal(out, expected)


def test_numpy_and_torch_give_the_same_bits(backend):
    if backend == "cuda":
        return
    u = np.random.default_rng(0).standard_normal((6, 7, 8))
    ours, theirs = np.empty((4, 5, 6)), torch.empty(4, 5, 6, dtype=torch.float64)
    star_stencil(ours, u, -6.0, (1.0, 1.0, 1.0))
    star_stencil(theirs, torch.from_numpy(u), -6.0, (1.0, 1.0, 1.0))
    assert np.array_equal(ours, theirs.numpy())


def test_a_bound_stencil_reads_what_the_array_holds_now(backend, device):
    u, out = torch.zeros(3, 3, device=device), torch.empty(1, 1, device=device)
    launch = bind_star_stencil(out, u, 1.0, (1.0, 1.0))
    u.fill_(1.0)
    launch()
    assert out.item() == 5.0


@pytest.mark.parametrize(
    ("out", "u", "near", "message"),
    [
        (torch.empty(3, 3), torch.zeros(5, 4), (1.0, 1.0), r"one ghost cell .*\(5, 5\), got 1 x \(5, 4\)"),
        (torch.empty(3, 3), torch.zeros(5, 5, dtype=torch.float64), (1.0, 1.0), "array of float, got dtype float64"),
        (torch.empty(3, 3).T.expand(2, 3, 3), torch.zeros(2, 5, 5), (1.0, 1.0), "rows of out must be contiguous"),
        (torch.empty(3), torch.zeros(5), (1.0,), "two and three dims"),
        (torch.empty(2, 3, 3, 3), torch.zeros(2, 5, 5, 5).transpose(0, 1), (1.0, 1.0), "evenly spaced"),
    ],
)
def test_what_does_not_fit_is_named(out, u, near, message):
    with pytest.raises(ShapeError, match=message):
        star_stencil(out, u, 1.0, near)
