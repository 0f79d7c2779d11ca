"""Columns and slabs are transformed as numpy does it, whatever their length, width and place."""

import numpy as np
import pytest
import torch

from hpcml.fields import Grid, decompose, pencils
from hpcml.fields.columns import LONGEST, column_functions, transform_columns, transform_slabs, transformable
from hpcml.fields.fft import irfftn, rfftn, spectral_domain

LENGTHS = [n for n in (*range(1, 65), 96, 100, 120, 128, 160, 243, 250) if transformable((0,), (n, 1), (n, 1), real=False)]
ROUND_OFF = {torch.complex64: 5e-7, torch.complex128: 1e-15}  # of the norm; a few times a number's own, which torch's transforms have too

needs_compiler = pytest.mark.skipif(not column_functions(), reason="no C++ compiler on this machine")


def error(ours, theirs):
    return np.linalg.norm(ours.numpy() - theirs) / np.linalg.norm(theirs)


def test_lengths_of_large_primes_are_left_to_torch():
    assert LENGTHS[:10] == [2, 3, 4, 5, 6, 8, 9, 10, 12, 15] and {64, 96, 100, 120, 128, 160, 243, 250} <= set(LENGTHS)
    for n in (7, 97, 2 * LONGEST):
        assert not transformable((0,), (n, 4), (n, 4), real=False)
    assert not transformable((0,), (8, 4), (6, 4), real=False)  # some modes only
    assert not transformable((1, 2), (8, 8, 7), (8, 8, 4), real=True)  # an odd line has no half


@needs_compiler
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("dtype", ROUND_OFF)
def test_columns_of_every_length_and_width(dtype, back):
    torch.manual_seed(0)
    for n in LENGTHS:
        for width in (1, 3, 8, 21, 37):
            u, out = torch.randn(2, n, width, dtype=dtype), torch.full((2, n + 1, width), torch.nan, dtype=dtype)
            transform_columns([u[:, : n // 3], u[:, n // 3 :]], [out[:, 1 : n // 2 + 1], out[:, n // 2 + 1 :]], back, 0.5)
            whole = u.to(torch.complex128).numpy()
            theirs = np.fft.ifft(whole, axis=1) * n / 2 if back else np.fft.fft(whole, axis=1) / 2
            assert error(out[:, 1:], theirs) < ROUND_OFF[dtype], (n, width)
            assert out[:, 0].isnan().all()


@needs_compiler
@pytest.mark.parametrize("dtype", ROUND_OFF)
def test_slabs_there_and_back(dtype):
    torch.manual_seed(0)
    for n, m in [(8, 4), (9, 6), (10, 16), (128, 128), (25, 90)]:
        x = torch.randn(2, 3, n, m, dtype=dtype.to_real())
        modes = [torch.empty(2, 3, rows, m // 2 + 1, dtype=dtype) for rows in (n // 4, n - n // 4)]
        transform_slabs(x, modes, False, 1.0)
        spectrum = torch.cat(modes, 2)
        assert error(spectrum, np.fft.rfft2(x.double().numpy())) < ROUND_OFF[dtype], (n, m)
        for part in modes:
            part.add_(torch.randn_like(part))  # a spectrum of no real field
        back = torch.empty_like(x)
        transform_slabs(back, modes, True, 1.0 / (n * m))
        assert error(back, np.fft.irfft2(torch.cat(modes, 2).to(torch.complex128).numpy(), (n, m))) < ROUND_OFF[dtype], (n, m)


@needs_compiler
@pytest.mark.parametrize("dtype", ROUND_OFF)
def test_bits_of_a_column_depend_on_nothing_beside_it(dtype):
    torch.manual_seed(0)
    u = torch.randn(1, 96, 2000, dtype=dtype)
    whole = torch.empty_like(u)
    transform_columns([u], [whole], False, 1.0)
    for first, last in [(0, 1), (5, 8), (3, 40), (1990, 2000)]:
        some = torch.empty(1, 96, last - first, dtype=dtype)
        transform_columns([u[..., first:last].contiguous()], [some], False, 1.0)
        assert torch.equal(some, whole[..., first:last])
    threads, by_three = torch.get_num_threads(), torch.empty_like(u)
    torch.set_num_threads(3)
    try:
        transform_columns([u], [by_three], False, 1.0)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(by_three, whole)


@needs_compiler
@pytest.mark.parallel([2, 3, 4])
def test_fields_on_ranks_take_this_way_and_views_of_conjugates_too(comm, monkeypatch):
    torch.manual_seed(0)
    u = torch.randn(2, 10, 9, 12, dtype=torch.float64)
    whole = torch.fft.rfftn(u, dim=(1, 2, 3))
    monkeypatch.setattr(pencils, "_run", None)
    with decompose(Grid((10, 9, 12)), comm, dims=(comm.size, 1, 1)) as domain:
        index = spectral_domain(domain).index
        s = rfftn(domain, u[domain.index])
        assert (s - whole[index]).abs().max() < 1e-12 * whole.abs().max()  # the package's bar
        assert (irfftn(domain, s) - u[domain.index]).abs().max() < 1e-12
        mirrored = torch.fft.irfftn(whole.conj().resolve_conj(), (10, 9, 12), (1, 2, 3))
        assert (irfftn(domain, s.conj()) - mirrored[domain.index]).abs().max() < 1e-12
        lies_otherwise = s.movedim(1, -1).contiguous().movedim(-1, 1)
        assert torch.equal(irfftn(domain, lies_otherwise), irfftn(domain, s))
