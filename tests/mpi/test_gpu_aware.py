"""The variable has the last word on GPU memory in MPI; the library is asked otherwise."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.mpi.gpu_aware import gpu_aware


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("MPICH_GPU_SUPPORT_ENABLED", raising=False)
    gpu_aware.cache_clear()
    yield
    gpu_aware.cache_clear()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False)])
def test_the_variable_decides(monkeypatch, value, expected):
    monkeypatch.setenv("HPCML_GPU_AWARE_MPI", value)
    assert gpu_aware() is expected


def test_another_value_is_named(monkeypatch):
    monkeypatch.setenv("HPCML_GPU_AWARE_MPI", "yes")
    with pytest.raises(ConfigError, match="'yes': expected auto, 1 or 0"):
        gpu_aware()


def test_the_query_is_found_in_the_library():
    """The wheels know the query and answer no: were it not found, a library that can would be taken for one that cannot."""
    import ctypes

    from mpi4py import MPI

    assert ctypes.CDLL(MPI.__file__).MPIX_Query_cuda_support() == int(gpu_aware())


def test_cray_needs_its_transport_library_too(monkeypatch):
    monkeypatch.setenv("MPICH_GPU_SUPPORT_ENABLED", "1")
    assert gpu_aware() is False
    gpu_aware.cache_clear()
    monkeypatch.setattr("hpcml.mpi.gpu_aware._loaded_libraries", lambda: "7f00-7f01 r-xp /opt/cray/lib/libmpi_gtl_cuda.so.0")
    assert gpu_aware() is True
