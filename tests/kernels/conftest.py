"""Every way to run a kernel that this machine has; the twin is run where something better could be too."""

import pytest
import torch

from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.device import cupy_found

ON_GPU = [pytest.param("cuda", marks=pytest.mark.gpu)] if cupy_found() else []


@pytest.fixture(params=["twin", *(["host"] if find_compiler() else []), *ON_GPU])
def backend(request, monkeypatch):
    if request.param == "twin":
        monkeypatch.setenv("HPCML_KERNELS", "twin")
    return request.param


@pytest.fixture
def device(backend):
    return torch.device("cuda" if backend == "cuda" else "cpu")


@pytest.fixture(autouse=True)
def float32_of_torch(monkeypatch):
    """Convolutions of torch, with which kernels are compared, in all of float32's digits on a GPU too."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
