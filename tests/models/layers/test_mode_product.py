"""Matrices for modes: the einsum, its derivatives of every kind, the bits of a mode alone, and nothing kept but what was given."""

import pytest
import torch

from hpcml.models.layers.mode_product import multiply_modes

BLOCK = (..., slice(1, 3), slice(0, 3))


def by_einsum(s, weight):
    return torch.einsum("bixy,ioxy->boxy", s, torch.view_as_complex(weight)[BLOCK])


def drawn():
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(2, 3, 2, 3, dtype=torch.complex128, generator=generator).requires_grad_()
    return s, torch.randn(3, 4, 4, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()


def test_values_and_derivatives_of_every_order():
    s, weight = drawn()
    ours, theirs = multiply_modes(s, weight, BLOCK), by_einsum(s, weight)
    assert torch.allclose(ours, theirs, rtol=1e-14)
    for a, b in zip(*(torch.autograd.grad(y.abs().square().sum(), [s, weight]) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b, rtol=1e-13)
    assert torch.autograd.gradgradcheck(lambda *given: multiply_modes(*given, BLOCK), (s, weight), fast_mode=True)


def test_forward_mode():
    primals = [t.detach() for t in drawn()]
    tangents = [t.flip(0) for t in primals]
    ours, theirs = (torch.func.jvp(f, (*primals,), (*tangents,)) for f in (lambda *given: multiply_modes(*given, BLOCK), by_einsum))
    assert all(torch.allclose(a, b, rtol=1e-13) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("batched", [(0, None), (None, 0), (1, 1)])
def test_batches_of_torch_func(batched):
    s, weight = (t.detach() for t in drawn())
    s, weight = (t if d is None else torch.stack([t, 2 * t], d) for t, d in zip((s, weight), batched, strict=True))
    ours = torch.func.vmap(lambda *given: multiply_modes(*given, BLOCK), batched)(s, weight)
    assert torch.allclose(ours, torch.func.vmap(by_einsum, batched)(s, weight), rtol=1e-14)


def test_no_sample_and_no_mode():
    s, weight = drawn()
    assert multiply_modes(s[:0], weight, BLOCK).shape == (0, 4, 2, 3)
    none = (..., slice(1, 1), slice(0, 3))
    (gradient,) = torch.autograd.grad(multiply_modes(s[:, :, :0], weight, none).abs().sum(), weight)
    assert not gradient.any()


@pytest.mark.parametrize("batch", [1, 3])
def test_bits_of_a_mode_do_not_hang_on_its_neighbors(batch):
    s, weight = torch.randn(batch, 8, 6, 5, dtype=torch.complex64), torch.randn(8, 8, 6, 5, 2)
    cotangent = torch.randn(batch, 8, 6, 5, dtype=torch.complex64)  # given, as vector code ends in other bits at the end of a row
    results = []
    for block in ((..., slice(0, 6), slice(0, 5)), (..., slice(2, 3), slice(1, 4))):
        mine, w = s[block].clone().requires_grad_(), weight.clone().requires_grad_()
        y = multiply_modes(mine, w, block)
        results.append([y, *torch.autograd.grad(y, [mine, w], cotangent[block])])
    (y, s_grad, w_grad), (part, s_part, w_part) = results
    chosen = (..., slice(2, 3), slice(1, 4))
    assert torch.equal(y[chosen], part) and torch.equal(s_grad[chosen], s_part)
    assert torch.equal(torch.view_as_complex(w_grad)[chosen], torch.view_as_complex(w_part)[chosen])


def test_only_what_was_given_is_kept():
    s, weight = drawn()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        multiply_modes(s, weight, BLOCK)
    assert set(kept) == {s.data_ptr(), weight.data_ptr()}
