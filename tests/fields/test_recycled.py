"""Memory is used again, but never while anybody holds it."""

import gc

import pytest
import torch

from hpcml.fields.recycled import LARGE_BYTES, MOST_SPARE, recycled

CPU = torch.device("cpu")
SHAPE = (3, LARGE_BYTES // 8)  # a size that no other test asks for


VIEWS = {"row": lambda t: t[1], "run": lambda t: t.view(-1)[5:], "array": lambda t: t.numpy(), "bits": lambda t: t.view(torch.int32)}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_keeps_the_memory(view):
    first = recycled(SHAPE, torch.float32, CPU).fill_(1.0)
    address, held = first.data_ptr(), VIEWS[view](first)
    value = held.flatten()[0].item()
    del first
    gc.collect()
    second = recycled(SHAPE, torch.float32, CPU).fill_(2.0)
    assert second.data_ptr() != address and held.flatten()[0].item() == value


def test_what_autograd_saved_keeps_the_memory():
    x = torch.ones(SHAPE, requires_grad=True)
    y = recycled(SHAPE, torch.float32, CPU).fill_(3.0)
    product = x * y
    del y
    recycled(SHAPE, torch.float32, CPU).fill_(7.0)
    product.sum().backward()
    assert torch.equal(x.grad, torch.full(SHAPE, 3.0))


def test_freed_memory_comes_back_for_any_dtype_of_the_same_size():
    first = recycled(SHAPE, torch.float32, CPU)
    address = first.data_ptr()
    del first
    second = recycled((SHAPE[1], SHAPE[0]), torch.float32, CPU)
    assert second.data_ptr() == address
    del second
    assert recycled((3, SHAPE[1] // 2), torch.float64, CPU).data_ptr() == address


def test_only_a_few_spare_pieces_wait():
    many = [recycled(SHAPE, torch.float32, CPU) for _ in range(MOST_SPARE + 3)]
    addresses = {t.data_ptr() for t in many}
    assert len(addresses) == len(many)
    del many
    again = [recycled(SHAPE, torch.float32, CPU) for _ in range(MOST_SPARE)]
    assert {t.data_ptr() for t in again} <= addresses
