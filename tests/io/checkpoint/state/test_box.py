"""Boxes meet as sets of cells do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcml.io.checkpoint.state.box import Box

pairs = st.tuples(st.integers(0, 6), st.integers(0, 5))
boxes = st.tuples(pairs, pairs).map(lambda dims: Box(tuple(o for o, _ in dims), tuple(n for _, n in dims)))


def cells(box):
    return {(i + box.offset[0], j + box.offset[1]) for i, j in np.ndindex(*box.shape)}


@given(boxes, boxes)
def test_the_intersection_holds_the_cells_of_both(a, b):
    both = a.intersection(b)
    assert cells(both) == cells(a) & cells(b) and both.volume == len(cells(both))


@given(boxes, st.integers(0, 5), st.integers(0, 5))
def test_rows_cut_dim_0(box, first, last):
    first, last = sorted((min(first, box.shape[0]), min(last, box.shape[0])))
    kept = {cell for cell in cells(box) if first <= cell[0] - box.offset[0] < last}
    assert cells(box.rows(first, last)) == kept


def test_slices_count_from_the_origin():
    array = np.arange(48).reshape(6, 8)
    assert np.array_equal(array[1:, 2:][Box((3, 4), (2, 3)).slices((1, 2))], array[3:5, 4:7])
