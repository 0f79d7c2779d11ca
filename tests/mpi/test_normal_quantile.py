"""The quantile function against a reference implementation, and its symmetry to the bit."""

import pytest
import torch
from scipy.special import ndtri

from hpcml.mpi.normal_quantile import normal_quantile

TOLERANCE = 4e-15  # about 20 operations in float64


@pytest.mark.parametrize(
    "p", [torch.linspace(2**-20, 1 - 2**-20, 100001, dtype=torch.float64), 2.0 ** -torch.linspace(1, 53, 5001, dtype=torch.float64)]
)
def test_it_equals_the_reference(p):
    expected = torch.from_numpy(ndtri(p.numpy()))
    assert float(((normal_quantile(p) - expected).abs() / expected.abs().clamp(min=1e-2)).max()) < TOLERANCE


def test_it_is_odd_about_the_median_to_the_bit():
    p = (torch.arange(1, 4096, dtype=torch.float64) - 0.5) / 4096
    assert torch.equal(normal_quantile(p), -normal_quantile(1 - p))


def test_a_value_does_not_depend_on_its_neighbors():
    """Vector loops treat their tail apart: a library function may then round another way."""
    p = torch.linspace(1e-12, 1 - 1e-12, 1003, dtype=torch.float64)
    assert torch.equal(normal_quantile(p), torch.stack([normal_quantile(one) for one in p]))
    assert torch.equal(normal_quantile(p.reshape(17, 59).t()), normal_quantile(p).reshape(17, 59).t())
