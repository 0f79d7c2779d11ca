"""The stretches of a box are its elements, in order, and as few as possible."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcml.io.dataset.runs import runs
from hpcml.topology.block import BlockRange


@st.composite
def boxes(draw):
    shape = draw(st.lists(st.integers(1, 5), max_size=4))
    starts = [draw(st.integers(0, n)) for n in shape]
    return shape, [BlockRange(a, draw(st.integers(a, n))) for a, n in zip(starts, shape, strict=True)]


@given(boxes())
def test_runs_are_the_elements_of_the_box(case):
    shape, box = case
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    expected = numbers[tuple(slice(r.start, r.stop) for r in box)].reshape(-1)
    starts, length = runs(shape, box)
    found = (starts[:, None] + np.arange(length)).reshape(-1)
    assert np.array_equal(found, expected)
    assert len(starts) <= 1 + int((np.diff(expected) != 1).sum())
