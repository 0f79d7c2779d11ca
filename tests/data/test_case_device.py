"""Where a case computes."""

import pytest
import torch

from hpcml.core.case import Ranks
from hpcml.core.errors import DeviceError
from hpcml.data.case_device import bind_case
from hpcml.mpi.world import World


@pytest.mark.parallel([1, 2])
def test_a_case_that_asks_for_gpus_is_refused_on_every_rank(comm, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with World.of(comm) as world:
        assert bind_case(Ranks(), world) == bind_case(Ranks(device="cpu"), world) == torch.device("cpu")
        with pytest.raises(DeviceError, match="'cuda'"):
            bind_case(Ranks(device="cuda"), world)
