"""Launch shapes that a GPU accepts."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hpcml.kernels.device import MAX_THREADS, launch_shape


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=3))
def test_shapes_are_within_what_hardware_allows(extent):
    grid, block = launch_shape(extent)
    assert math.prod(block) <= MAX_THREADS and all(n & (n - 1) == 0 for n in block)
    assert all(1 <= n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True))


def test_x_is_filled_first():
    assert launch_shape((1000, 8, 4)) == ((4, 8, 4), (256, 1, 1))
    assert launch_shape((3, 100, 9)) == ((1, 2, 9), (4, 64, 1))
