"""Ranks of a node are dealt to its GPUs."""

import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import DeviceError
from hpcml.fields import Grid, decompose
from hpcml.mpi.device import bind_device, choose_device, device_index


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
    monkeypatch.delenv("HPCML_GPU_ORDER", raising=False)
    device = bind_device(0)
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert float(torch.ones(2, device=device).sum()) == 2.0


def test_what_was_asked_for_is_chosen():
    gpu = torch.device("cuda", 1)
    assert choose_device(None, gpu) == gpu
    assert choose_device("cpu", gpu) == torch.device("cpu")
    assert choose_device("meta", gpu) == torch.device("meta")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for asked in ("cuda", "cuda:3", "gpu"):
        with pytest.raises(DeviceError, match=f"'{asked}'"):
            choose_device(asked, torch.device("cpu"))


def test_the_gpu_of_this_process_is_meant_where_no_number_is_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda", torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert choose_device("cuda:0", torch.device("cuda", 1)) == torch.device("cuda", 0)


def test_a_domain_of_a_communicator_is_on_the_device_that_was_bound(monkeypatch):
    monkeypatch.setattr("hpcml.mpi.device._bound", [])
    with decompose(Grid((8,)), MPI.COMM_SELF) as domain:
        assert domain.device == domain.with_shape((4,)).device == domain.serial().device == torch.device("cpu")
    monkeypatch.setattr("hpcml.mpi.device._bound", [torch.device("meta")])  # as a GPU would be
    with decompose(Grid((8,)), MPI.COMM_SELF) as domain:
        assert domain.device == domain.serial().device == domain.centres()[0].device == torch.device("meta")
