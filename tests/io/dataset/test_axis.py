"""What is uniform, and what is the same box at another resolution."""

import numpy as np
import pytest

from hpcml.io.dataset.axis import Axis, equally_spaced


@pytest.mark.parametrize("values, uniform", [
    (np.linspace(0, 1, 1000, dtype="f4"), True),
    (1e4 + np.linspace(0, 1, 1000, dtype="f4"), True),  # rounded to a thousandth: a cell's width
    ([0.1, 0.2, 0.5, 0.9, 1.4, 2.0], False),
    (np.geomspace(1, 1.1, 64), False),
    ([0.0, 0.0, 0.0], False),
    ([2.0, 1.0, 0.0], False),
    ([0.0, np.nan, 2.0], False),
    ([3.0], True),
])  # fmt: skip
def test_uniform_is_what_float32_leaves_of_equal_steps(values, uniform):
    assert equally_spaced(np.float32(values).tolist()) is uniform


def of(centres):
    return Axis("x", len(centres), float(centres[0]), float(centres[-1]))


@pytest.mark.parametrize("read", [
    lambda n: (np.arange(n) + 0.5) / n,  # centres
    lambda n: np.arange(n) / n,  # left edges
    lambda n: np.linspace(0, 1, n),  # both ends
], ids=["centres", "edges", "ends"])  # fmt: skip
def test_a_box_is_the_same_at_any_resolution_however_a_file_gives_it(read):
    assert of(read(16)).has_box_of(of(read(48)))
    for other in (read(48) * 1.01, read(48) + 0.01, read(48) * 50):
        assert not of(read(16)).has_box_of(of(other))
