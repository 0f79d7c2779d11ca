"""A small dataset with a scalar, a vector and a coefficient that does not vary in time."""

import pytest

from hpcml.io.dataset import Description, Field

FIELDS = (Field("velocity", 1), Field("depth"), Field("bed", varies_in_time=False))


@pytest.fixture
def space():
    """Three trajectories of four times on 6 x 5 cells, one dim periodic; all numbers are exact in float32."""
    centres = tuple(tuple((i + 0.5) / 8 for i in range(n)) for n in (6, 5))
    return Description("demo", FIELDS, 3, (0.0, 0.25, 0.5, 0.75), centres, (True, False), {"nu": (0.125,), "seed": (1.0, 2.0, 3.0)})


@pytest.fixture
def values(space, rng):
    """(trajectory, time, channel, *cells) in float32."""
    drawn = rng.standard_normal((3, 4, 4, *space.grid_shape)).astype("f4")
    drawn[:, :, 3] = drawn[:, :1, 3]  # the bed
    return drawn
