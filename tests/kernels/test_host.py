"""The compiled kernels: threads change nothing, and threads that wait for one another are not imitated."""

import pytest
import torch

from hpcml.core.errors import DeviceError
from hpcml.kernels import host
from hpcml.kernels.compiler import compiler_flags, find_compiler
from hpcml.kernels.host_text import team_dim
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.source import read_source
from hpcml.kernels.stencil import star_stencil

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")


@pytest.mark.parametrize("cells", [(40, 50), (11, 20, 30)], ids=str)
def test_a_team_of_threads_gives_the_same_bits(cells, monkeypatch):
    u = torch.randn([n + 2 for n in cells], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone, together = torch.empty(cells, dtype=torch.float64), torch.empty(cells, dtype=torch.float64)
    star_stencil(alone, u, -4.0, (1.0,) * len(cells))
    monkeypatch.setattr(host, "TEAM_MIN_POINTS", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    star_stencil(together, u, -4.0, (1.0,) * len(cells))
    assert torch.equal(alone, together)


@pytest.mark.parametrize(("value", "threads"), [("4", 4), ("2,3", 2), ("", 1), ("0", 1), ("many", 1)])
def test_threads_per_rank_follow_the_environment(monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert host.host_threads() == threads


def test_the_team_shares_the_outermost_grid_dim(tmp_path):
    assert team_dim(read_source("stencil"), "seven_point") == "z"
    assert team_dim(read_source("segment"), "gather_sum") == "y"
    line = 'extern "C" __global__ void line(REAL* x, int n)\n{\n    for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = i;\n}\n'
    (tmp_path / "line.cu").write_text(f"// Number a line.\n// Types    REAL: float, double\n{line}")
    assert team_dim(read_source(tmp_path / "line.cu"), "line") is None


def test_blocks_that_wait_are_not_imitated(tmp_path):
    text = 'extern "C" __global__ void turned(REAL* x, int n)\n{\n    __syncthreads();\n    x[threadIdx.x] = n;\n}\n'
    (tmp_path / "turned.cu").write_text(f"// Write a number together.\n// Types    REAL: float, double\n{text}")
    turned = Kernel(tmp_path / "turned.cu", "turned", twin=lambda x, n: x.fill_(n))
    with pytest.raises(DeviceError, match="the 4x1x1 threads of a block wait for one another"):
        turned(torch.zeros(8), 8, extent=(8,), shape=((1, 1, 1), (4, 1, 1)), imitate=True, backend="host")


def test_flags_of_the_site_come_last_and_win(monkeypatch):
    monkeypatch.setenv("HPCML_CXXFLAGS", "-O1 '-DNAME=a b'")
    assert compiler_flags()[-2:] == ("-O1", "-DNAME=a b")


def test_the_compiler_that_is_named_is_taken(monkeypatch, tmp_path):
    named = tmp_path / "mycxx"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    look = find_compiler.__wrapped__
    monkeypatch.setenv("CXX", str(named))
    monkeypatch.delenv("HPCML_CXX", raising=False)
    assert look() == str(named)
    monkeypatch.setenv("HPCML_CXX", "/nowhere/g++")
    assert look() == str(named)
