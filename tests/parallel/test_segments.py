"""Segments are `numpy.pad` cut into pieces, each from one owner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcml.core.errors import ConfigError
from hpcml.parallel.layout import Layout
from hpcml.parallel.segments import BOUNDARIES, segments

NUMPY_MODE = {"periodic": "wrap", "zero": "constant", "constant": "constant", "reflect": "reflect", "replicate": "edge"}


@st.composite
def windows(draw):
    num_blocks = draw(st.integers(1, 5))
    num_cells = draw(st.integers(num_blocks, 23))
    start = draw(st.integers(-30, num_cells))
    return num_cells, num_blocks, (start, draw(st.integers(start, 50)))


@given(windows(), st.sampled_from(BOUNDARIES))
def test_pieces_put_together_are_the_padded_array(case, boundary):
    num_cells, num_blocks, (start, stop) = case
    owned = Layout.blocks((num_cells,), (num_blocks,)).ranges[0]
    array = np.arange(100, 100 + num_cells)
    window = np.full(stop - start, 0)
    for s in segments((start, stop), num_cells, boundary, owned):
        supplied = array[slice(*owned[s.coord])][s.source : s.source + s.source_size]
        window[s.target : s.target + s.size] = supplied[::-1] if s.step < 0 else supplied
    padded = np.pad(array, (60, 60), mode=NUMPY_MODE[boundary])
    margin = np.zeros(100, dtype=int)
    padded = np.concatenate([margin, padded, margin]) if boundary in ("zero", "constant") else padded
    origin = 160 if boundary in ("zero", "constant") else 60
    np.testing.assert_array_equal(window, padded[origin + start : origin + stop])


@given(windows(), st.sampled_from(BOUNDARIES))
def test_own_cells_are_one_run(case, boundary):
    num_cells, num_blocks, _ = case
    owned = Layout.blocks((num_cells,), (num_blocks,)).ranges[0]
    for coord, (start, stop) in enumerate(owned):
        runs = segments((start - 2, stop + 2), num_cells, boundary, owned)
        assert any(r.coord == coord and r.target == 2 and r.size >= stop - start and r.step == 1 for r in runs)


def test_an_unknown_boundary_is_named():
    with pytest.raises(ConfigError, match="circular.*periodic"):
        segments((0, 1), 1, "circular", ((0, 1),))
