"""GELU and a map in one: the bits of torch's two, derivatives of every kind, and nothing kept of what lies between them."""

import pytest
import torch

from hpcml.models.layers import cellwise_map as module
from hpcml.models.layers.cellwise_map import activated_map, cellwise_map


def in_two(h, weight, bias):
    return plain(torch.nn.functional.gelu(h), weight, bias)


def plain(h, weight, bias):
    return torch.baddbmm(bias[:, None], weight[..., 0].expand(len(h), -1, -1), h)


def drawn(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 5), (4, 3, 1), (4,))
    return [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]


def test_bits_forward_and_backward():
    given = drawn(torch.float32)
    ours, theirs = activated_map(*given), in_two(*given)
    assert torch.equal(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(y.sin().sum(), given) for y in (ours, theirs)), strict=True):
        assert torch.equal(a, b)


def test_second_derivatives():
    assert torch.autograd.gradgradcheck(activated_map, drawn(), fast_mode=True)


@pytest.mark.parametrize("batched", [(0, None, None), (None, 0, 0), (1, 1, None)])
def test_forward_mode_and_batches_of_torch_func(batched):
    primals = tuple(t.detach() for t in drawn())
    tangents = tuple(t.flip(0) for t in primals)
    ours, theirs = (torch.func.jvp(f, primals, tangents) for f in (activated_map, in_two))
    assert all(torch.allclose(a, b, rtol=1e-13) for a, b in zip(ours, theirs, strict=True))
    many = tuple(t if d is None else torch.stack([t, 2 * t], d) for t, d in zip(primals, batched, strict=True))
    ours, theirs = (torch.func.vmap(f, batched)(*many) for f in (activated_map, in_two))
    assert torch.allclose(ours, theirs, rtol=1e-13)


def test_only_what_was_given_is_kept():
    given, kept = drawn(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        activated_map(*given)
    assert set(kept) == {given[0].data_ptr(), given[1].data_ptr()}


@pytest.mark.parametrize(("ours", "theirs"), [(activated_map, in_two), (cellwise_map, plain)])
@pytest.mark.parametrize("piece", [2, 5, 7])
def test_gradients_summed_in_pieces_as_on_a_gpu(ours, theirs, piece, monkeypatch):
    monkeypatch.setattr(module, "PIECE", piece)
    monkeypatch.setattr(module, "_in_pieces", lambda h: True)
    given = drawn()
    gradients = (torch.autograd.grad(f(*given).sin().sum(), given) for f in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-13)
    assert torch.autograd.gradgradcheck(ours, given, fast_mode=True)
