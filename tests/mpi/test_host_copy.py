"""Memory that copies from a GPU go to, as far as a machine without one can tell: what the driver is asked for."""

import mmap
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpcml.mpi.host_copy import pin


@pytest.mark.parametrize("status", [0, 2])
def test_memory_is_locked_until_it_is_let_go(monkeypatch, status):
    asked = []
    runtime = SimpleNamespace(
        cudaError=SimpleNamespace(success=0),
        cudaHostRegister=lambda address, nbytes, flags: asked.append(("lock", address, nbytes)) or status,
        cudaHostUnregister=lambda address: asked.append(("let go", address)),
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    memory = mmap.mmap(-1, 8192)
    let_go = pin(memory)
    address = int(np.frombuffer(memory, np.uint8).ctypes.data)
    let_go()
    assert asked == [("lock", address, 8192), ("let go", address)][: 2 if status == 0 else 1]
    memory.close()  # nothing refers to it any more
