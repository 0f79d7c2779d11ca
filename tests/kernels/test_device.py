"""Launches that a GPU accepts: their shapes, and where the driver finds their arguments."""

import ctypes
import math
import sys
from types import ModuleType, SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st

from hpcml.kernels import device
from hpcml.kernels.arguments import array_info
from hpcml.kernels.device import COLUMNS, MAX_THREADS, column_shape, launch_shape
from hpcml.kernels.launch import DeviceLaunch
from hpcml.kernels.stencil import STAR

FIVE_POINT = [ctypes.c_uint64] * 2 + [ctypes.c_int] * 3 + [ctypes.c_longlong] * 4 + [ctypes.c_float] * 3


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=3))
def test_shapes_are_within_what_hardware_allows(extent):
    for (grid, block), most in ((launch_shape(extent), MAX_THREADS), (column_shape(extent), math.prod(COLUMNS))):
        assert math.prod(block) <= most and all(n & (n - 1) == 0 for n in block)
        assert all(1 <= n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True))


def test_x_is_filled_first():
    assert launch_shape((1000, 8, 4)) == ((8, 8, 4), (128, 1, 1))
    assert launch_shape((3, 100, 9)) == ((1, 4, 9), (4, 32, 1))


def test_the_driver_is_given_the_addresses_of_all_arguments(monkeypatch):
    """As it reads them: each where the list says, in as many bytes as its type has."""
    calls = []

    def launch_kernel(function, *numbers):
        *sizes, shared, stream, places, extra = numbers
        at = (ctypes.c_uint64 * len(FIVE_POINT)).from_address(places)
        read = [kind.from_address(address).value for kind, address in zip(FIVE_POINT, at, strict=True)]
        calls.append((function, sizes, (shared, stream, extra), read))

    current = [1]
    runtime = SimpleNamespace(getDevice=lambda: current[-1], setDevice=current.append)
    fake = ModuleType("cupy_backends.cuda.api")
    fake.driver, fake.runtime = SimpleNamespace(launchKernel=launch_kernel), runtime
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(device, "_function", lambda *of: 7)
    monkeypatch.setattr(device, "current_stream", lambda number: 5)
    kernel, u, out = STAR[2], torch.zeros(4, 5), torch.zeros(2, 3)
    arguments = (out, u, 1, 2, 3, 6, 3, 20, 5, -4.0, 1.5, 0.25)
    infos = [array_info(out), array_info(u), *[None] * 10]
    launch = DeviceLaunch(kernel.source, kernel.signature, arguments, infos, {"REAL": "float"}, 0, (3, 2, 1), ((2, 1, 1), (4, 2, 1)))
    launch()
    launch.point(1, 4096)
    launch()
    scalars = [*arguments[2:]]
    expected = [(7, [2, 1, 1, 4, 2, 1], (0, 5, 0), [out.data_ptr(), at, *scalars]) for at in (u.data_ptr(), 4096)]
    assert calls == expected and current == [1, 0, 1, 0, 1]
