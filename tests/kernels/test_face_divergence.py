"""The divergence of face fluxes against differences, bit by bit."""

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.face_divergence import minus_face_divergence


def arrays(lead, cells, dtype, device):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn((*lead, *(n + 2 for n in cells)), dtype=dtype, generator=generator)
    weights = [
        torch.rand((*lead, *(n + (k == d) for k, n in enumerate(cells))), dtype=dtype, generator=generator) for d in range(len(cells))
    ]
    return u.to(device), [weight.to(device) for weight in weights]


@pytest.mark.parametrize("lead", [(), (2, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cells", [(1, 1), (5, 7), (33, 20), (3, 4, 5), (9, 8, 34)], ids=str)
def test_it_is_bit_equal_to_the_difference_of_fluxes(backend, device, cells, dtype, lead):
    u, weights = arrays(lead, cells, dtype, device)
    out = torch.empty((*lead, *cells), dtype=dtype, device=device)
    minus_face_divergence(out, u, weights)
    inner, parts = (slice(1, -1),) * len(cells), []
    for d, weight in enumerate(weights):
        flux = weight * u[(..., *inner[:d], slice(None), *inner[d + 1 :])].diff(dim=d - len(cells))
        parts.append(-flux.diff(dim=d - len(cells)))
    assert torch.equal(out, sum(parts[1:], start=parts[0]))


def test_an_inner_window_of_a_larger_array_is_read(backend, device):
    u, weights = arrays((), (4, 5), torch.float64, device)
    large = torch.full((9, 12), 7.0, dtype=torch.float64, device=device)
    large[1:7, 2:9] = u
    ours, theirs = torch.empty(4, 5, dtype=torch.float64, device=device), torch.empty(4, 5, dtype=torch.float64, device=device)
    minus_face_divergence(ours, large[1:7, 2:9], weights)
    minus_face_divergence(theirs, u, weights)
    assert torch.equal(ours, theirs)


def test_what_does_not_fit_is_named():
    u, weights = arrays((), (4, 5), torch.float32, "cpu")
    with pytest.raises(ShapeError, match=r"dim 1 need one more .* expected \(4, 6\), got \(5, 5\)"):
        minus_face_divergence(torch.empty(4, 5), u, [weights[0], weights[0]])
    with pytest.raises(ShapeError, match="two and three dims, got weights for 1"):
        minus_face_divergence(torch.empty(4), u[0], weights[:1])
    with pytest.raises(ShapeError, match="one ghost cell"):
        minus_face_divergence(torch.empty(4, 4), u, weights)
