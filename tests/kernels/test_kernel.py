"""One launch signature: every way to run gives the same, and what cannot be passed is named."""

import warnings

import numpy as np
import pytest
import torch

from hpcml.core.errors import ConfigError, DeviceError, ShapeError
from hpcml.kernels import backend as backend_module
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.stencil import STAR

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")


def add_index_twin(out, x, n, scale):
    """out_i = scale x_i + i."""
    out[...] = scale * x + np.arange(n)


SCALE = """// Scale and add the index.
// Types    REAL: float, double
extern "C" __global__ void add_index(REAL* out, const REAL* x, int n, REAL scale)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = scale * x[i] + i;
}
"""


@pytest.fixture
def kernel(tmp_path):
    file = tmp_path / "scale.cu"
    file.write_text(SCALE)
    return Kernel(file, "add_index", add_index_twin)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_of_one_s_own_runs_on_the_host_and_as_its_twin(kernel, dtype):
    x, host, twin = np.linspace(0, 1, 11, dtype=dtype), np.empty(11, dtype), np.empty(11, dtype)
    kernel(host, x, 11, 3.0, extent=(11,), backend="host")
    kernel(twin, x, 11, 3.0, extent=(11,), backend="twin")
    assert np.array_equal(host, twin) and host[10] == 13.0


@needs_compiler
@pytest.mark.parametrize(
    "shape", [((1, 1, 1), (1, 1, 1)), ((3, 1, 1), (4, 1, 1)), ((2, 3, 2), (3, 2, 2)), ((40, 9, 9), (1, 1, 1))], ids=str
)
def test_any_launch_shape_covers_every_cell_once(kernel, shape):
    u = torch.randn(6, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, imitated = torch.empty(4, 5, 6, dtype=torch.float64), torch.empty(4, 5, 6, dtype=torch.float64)
    for out, imitate in ((whole, False), (imitated, True)):
        arguments = (out, u, 1, 4, 5, 6, 0, 30, 6, 0, 56, 8, -6.0, 1.0, 1.0, 1.0)
        STAR[3](*arguments, extent=(6, 5, 4), shape=shape, imitate=imitate, backend="host")
    out, ones = np.full(100, -1.0), np.ones(100)
    kernel(out, ones, 100, 1.0, extent=(100,), shape=((shape[0][0], 1, 1), (shape[1][0], 1, 1)), imitate=True, backend="host")
    assert torch.equal(whole, imitated) and np.array_equal(out, 1 + np.arange(100))


@needs_compiler
def test_a_bound_launch_keeps_its_arrays_alive(kernel):
    out = np.empty(1000)
    launch = kernel.bind(out, np.ones(1000), 1000, 1.0, extent=(1000,), backend="host")
    filler = [np.full(1000, 7.0) for _ in range(10)]
    launch()
    assert np.array_equal(out, 1 + np.arange(1000)) and len(filler) == 10


@pytest.fixture
def forgetful():
    """Nothing found before the test is known in it, and nothing found in it is known afterwards."""
    for cached in (find_compiler, backend_module._choose):
        cached.cache_clear()
    yield
    for cached in (find_compiler, backend_module._choose):
        cached.cache_clear()


def test_without_a_compiler_the_twin_runs_and_warns_once(kernel, monkeypatch, tmp_path, forgetful):
    for name in ("HPCML_CXX", "CXX", "HPCML_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    x, out = np.ones(3), np.empty(3)
    with pytest.warns(RuntimeWarning, match="twins: a C\\+\\+ compiler .* is missing"):
        kernel(out, x, 3, 2.0, extent=(3,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel(out, x, 3, 2.0, extent=(3,))
    assert out.tolist() == [2.0, 3.0, 4.0]
    with pytest.raises(DeviceError, match="compiler is missing"):
        kernel(out, x, 3, 2.0, extent=(3,), backend="host")


@needs_compiler
def test_a_text_that_does_not_compile_is_named_by_file_and_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    file = tmp_path / "broken.cu"
    file.write_text('// Broken.\n\nextern "C" __global__ void broken(int* x) { x[0] = y; }\n')
    with pytest.raises(DeviceError, match=r"broken.cu:3:.*error.*y"):
        Kernel(file, "broken", print)(np.zeros(1, np.int32), extent=(1,), backend="host")


def test_what_only_a_gpu_has_runs_as_its_twin_on_the_cpu(tmp_path):
    file = tmp_path / "gpu.cu"
    file.write_text('// Atomic.\nextern "C" __global__ void count(int* x) { atomicAdd(x, 1); }\n')
    x = np.zeros(1, np.int32)
    Kernel(file, "count", lambda x: np.add(x, 1, out=x))(x, extent=(1,))
    assert x[0] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.empty(3), np.ones(3), 3), ShapeError, r"takes 4 arguments \(out, x, n, scale\), got 3"),
        ((np.empty(3), np.ones(3, np.float32), 3, 1.0), ShapeError, "x is an array of double, got dtype float32"),
        ((np.empty(3, int), np.ones(3), 3, 1.0), ShapeError, "out is an array of float or double, got dtype int64"),
        ((np.empty(3), np.ones(6)[::2], 3, 1.0), ShapeError, "x must be contiguous"),
        ((np.empty(3), [1.0, 1.0, 1.0], 3, 1.0), ShapeError, "expected a NumPy array, a torch tensor or a CuPy array, got list"),
        ((np.broadcast_to(np.ones(1), 1), np.ones(1), 1, 1.0), ShapeError, "writes out, which is read-only"),
        ((torch.empty(3), torch.ones(3, device="meta"), 3, 1.0), DeviceError, r"one device, got \['cpu', 'meta:0'\]"),
    ],
)
def test_arguments_that_do_not_fit_are_named(kernel, arguments, error, message):
    with pytest.raises(error, match=message):
        kernel(*arguments, extent=(3,))


@needs_compiler
def test_scalars_that_do_not_fit_are_named(kernel):
    with pytest.raises(ShapeError, match="n is a int, got 2.5"):
        kernel(np.empty(3), np.ones(3), 2.5, 1.0, extent=(3,), backend="host")
    with pytest.raises(ShapeError, match="n is a int, got 4294967296"):
        kernel(np.empty(3), np.ones(3), 2**32, 1.0, extent=(3,), backend="host")


def test_unknown_kernels_types_and_settings_are_named(kernel, monkeypatch):
    with pytest.raises(DeviceError, match="no kernel nothing: expected one of add_index"):
        Kernel(kernel.file, "nothing", print)(extent=(1,))
    with pytest.raises(ShapeError, match=r"types \['REAL'\], got \['WORD'\]"):
        kernel(np.empty(3), np.ones(3), 3, 1.0, extent=(3,), types={"WORD": "int"})
    with pytest.raises(DeviceError, match="cannot run on a GPU: its arrays are on cpu"):
        kernel(np.empty(3), np.ones(3), 3, 1.0, extent=(3,), backend="cuda")
    monkeypatch.setenv("HPCML_KERNELS", "fast")
    with pytest.raises(ConfigError, match="HPCML_KERNELS=fast"):
        kernel(np.empty(3), np.ones(3), 3, 1.0, extent=(3,))
