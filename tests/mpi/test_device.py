"""Ranks of a node are dealt to its GPUs."""

import pytest

from hpcml.core.errors import DeviceError
from hpcml.mpi.device import bind_device, device_index


@pytest.mark.parametrize(
    ("order", "expected"),
    [("", [0, 1, 2, 3, 0]), ("reverse", [3, 2, 1, 0, 3]), ("2, 3", [2, 3, 2, 3, 2]), ("3,1,2,0", [3, 1, 2, 0, 3])],
)
def test_ranks_are_dealt_in_the_order_of_the_site(order, expected):
    assert [device_index(rank, 4, order) for rank in range(5)] == expected


def test_a_rank_that_sees_one_gpu_takes_it_whatever_the_order():
    assert [device_index(rank, 1, "3,2,1,0") for rank in range(4)] == [0, 0, 0, 0]


@pytest.mark.parametrize("order", ["4", "0,1,9", "backwards", "-1", "0,,1"])
def test_an_impossible_order_is_named(order):
    with pytest.raises(DeviceError, match=f"HPCML_GPU_ORDER={order!r}"):
        device_index(1, 4, order)


def test_the_device_of_this_rank_can_hold_a_tensor(monkeypatch):
    import torch

    monkeypatch.delenv("HPCML_GPU_ORDER", raising=False)
    device = bind_device(0)
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert float(torch.ones(2, device=device).sum()) == 2.0
