"""Eight bits: error bounds, no bias, and the same bits by every back end."""

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.quantise import dequantise, quantise
from hpcml.kernels.quantise_twin import quantise_twin
from hpcml.mpi.seeds import bits


def values(count, dtype, device, seed=0):
    return torch.randn(count, dtype=dtype, generator=torch.Generator().manual_seed(seed)).mul(3).to(device)


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("count", "bucket"), [(1, 256), (1000, 256), (1024, 64), (37, 1), (4096, 1024)])
def test_bits_are_those_of_the_twin(backend, device, count, bucket, dtype, seed):
    x = values(count, dtype, device)
    q, scale = quantise(x, bucket, seed, "test", offset=11)
    key = 0 if seed is None else int(bits(seed, "test", torch.zeros(1, dtype=torch.int64))) % 2**64
    expected, expected_scale = torch.empty_like(q), torch.empty_like(scale)
    quantise_twin(expected, expected_scale, x, count, bucket, seed is not None, key, 11)
    assert torch.equal(scale, expected_scale) and torch.equal(q, expected)


@pytest.mark.parametrize(("seed", "most"), [(None, 0.5), (3, 1.0)])
def test_error_stays_within_the_bound(backend, device, seed, most):
    x = values(5000, torch.float64, device)
    q, scale = quantise(x, 100, seed)
    error = (dequantise(q, scale, 100) - x).abs() / scale.repeat_interleave(100)
    # Half a step to nearest, a whole one at random; 1e-12 for the rounding of x / scale, which is up to 127.
    assert error.max() <= most + 1e-12


def test_random_rounding_is_right_on_average(backend, device):
    x = torch.full((40_000,), 0.3, dtype=torch.float64, device=device)
    x[0] = 127.0
    q, scale = quantise(x, len(x), seed=1)
    # The mean of 40 000 draws of 0 or 1 has the standard deviation 0.0023; five of them.
    assert abs(q[1:].double().mean() - 0.3) < 0.012 and scale.item() == 1.0


def test_draws_belong_to_the_global_index(backend, device):
    x = values(512, torch.float32, device)
    whole, _ = quantise(x, 128, seed=5)
    half, _ = quantise(x[256:], 128, seed=5, offset=256)
    other, _ = quantise(x, 128, seed=6)
    assert torch.equal(whole[256:], half) and not torch.equal(whole, other)


def test_zeros_stay_zero_and_what_is_not_finite_comes_back_as_nan(backend, device):
    x = torch.zeros(12, device=device)
    x[5], x[9] = float("inf"), float("nan")
    back = dequantise(*quantise(x, 4), 4)
    assert back[:4].tolist() == [0] * 4 and back[4:].isnan().all()


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="float or double"):
        quantise(torch.zeros(4, dtype=torch.bfloat16))
    with pytest.raises(ShapeError, match="at least one element, got 0"):
        quantise(torch.zeros(4), 0)
    with pytest.raises(ShapeError, match="need 2 scales, got"):
        dequantise(torch.zeros(5, dtype=torch.int8), torch.zeros(1), 4)
