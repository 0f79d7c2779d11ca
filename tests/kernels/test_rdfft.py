"""The in-place transform is rfft, its inverse gives the row back, and neither makes an array."""

import tracemalloc

import numpy as np
import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.rdfft import irdfft_, rdfft_

LENGTHS = [2**k for k in range(1, 13)]


@pytest.mark.parametrize("n", [1, *LENGTHS])
def test_spectrum_is_numpy_s_and_the_round_trip_is_exact(backend, device, n, rng):
    rows = rng.standard_normal((3, n))
    a = torch.tensor(rows, device=device)
    rdfft_(a)
    packed, expected = a.cpu().numpy(), np.fft.rfft(rows)
    # Round-off of a sum of n terms of size 1 in log n stages; 1e-12 is twenty times what was seen at n = 4096.
    assert np.abs(packed[:, : n // 2 + 1] - expected.real).max() <= 1e-12
    assert np.abs(packed[:, n // 2 + 1 :][:, ::-1] - expected.imag[:, 1 : (n + 1) // 2]).max(initial=0) <= 1e-12
    irdfft_(a)
    # Values of size 4, each stage undone with an error of one unit in the last place.
    assert np.abs(a.cpu().numpy() - rows).max() <= 1e-14


def test_float32_and_strided_rows(backend, device, rng):
    rows = rng.standard_normal((4, 64)).astype(np.float32)
    a = torch.zeros(4, 100, device=device)
    a[:, 10:74] = torch.tensor(rows, device=device)
    rdfft_(a[:, 10:74])
    # float32 holds 7 digits of sums up to 30.
    assert np.abs(a[:, 10:43].cpu().numpy() - np.fft.rfft(rows).real).max() < 1e-5
    assert a[:, :10].count_nonzero() == 0 == a[:, 74:].count_nonzero()
    irdfft_(a[:, 10:74])
    assert np.abs(a[:, 10:74].cpu().numpy() - rows).max() < 1e-6


def test_packed_product_is_circular_convolution(backend, device, rng):
    n = 16
    a, b = (torch.tensor(rng.standard_normal(n), device=device) for _ in range(2))
    expected = torch.fft.irfft(torch.fft.rfft(a) * torch.fft.rfft(b), n)
    rdfft_(a)
    rdfft_(b)
    real, imaginary = slice(1, n // 2), slice(n // 2 + 1, n)
    ar, br, ai, bi = a[real].clone(), b[real], a[imaginary].flip(0), b[imaginary].flip(0)
    a[[0, n // 2]] *= b[[0, n // 2]]
    a[real] = ar * br - ai * bi
    a[imaginary] = (ar * bi + ai * br).flip(0)
    irdfft_(a)
    assert (a - expected).abs().max() < 1e-13  # round-off of values up to 10


def test_nothing_is_allocated():
    a = np.zeros((16, 4096))
    rdfft_(a)
    irdfft_(a)
    tracemalloc.start()
    try:
        rdfft_(a)
        irdfft_(a)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Python objects of the two calls; a further array of one row alone would be 32 KiB.
    assert peak < 16 * 1024


def test_other_lengths_are_named():
    with pytest.raises(ShapeError, match="power of two, got 12"):
        rdfft_(np.zeros(12))
    with pytest.raises(ShapeError, match="must be contiguous"):
        rdfft_(np.zeros((8, 2)).T)
