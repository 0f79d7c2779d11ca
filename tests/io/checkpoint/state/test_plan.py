"""The pieces tile the state, and no rank writes much more than another."""

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcml.io.checkpoint.state.box import Box
from hpcml.io.checkpoint.state.plan import ArraySpec, Piece, deal

shapes = st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=6)


def specs_of(shapes, placement="replicated"):
    return [ArraySpec(f"a{i}", "numpy", "float64", placement, shape) for i, shape in enumerate(shapes)]


@given(shapes, st.integers(1, 7))
def test_replicated_arrays_are_written_once(shapes, size):
    specs = specs_of(shapes)
    pieces = deal(specs, [[None] * len(specs)] * size)
    for entry, spec in enumerate(specs):
        times = np.zeros(spec.shape, int)
        mine = [piece for rank in pieces for piece in rank if piece.entry == entry]
        for piece in mine:
            times[piece.box.slices((0,) * times.ndim)] += 1
        assert (times == 1).all() and mine


@given(shapes, st.integers(1, 7))
def test_shares_differ_by_less_than_two_rows(shapes, size):
    specs = specs_of(shapes)
    written = [sum(8 * piece.box.volume for piece in rank) for rank in deal(specs, [[None] * len(specs)] * size)]
    row = max(8 * prod(shape[1:]) for shape in shapes)
    # each end of a rank's even range moves by less than one row, and even ranges differ by one byte
    assert max(written) - min(written) < 2 * row + 1 or len(set(written)) == 1


def test_ranks_that_hold_the_same_block_share_it():
    (spec,) = specs_of([(8, 2)], "blocked")
    halves = [Box((0, 0), (4, 2)), Box((4, 0), (4, 2))]
    pieces = deal([spec], [[halves[0]], [halves[1]], [halves[0]], [halves[1]]])
    assert [rank[0].box for rank in pieces] == [Box((0, 0), (2, 2)), Box((4, 0), (2, 2)), Box((2, 0), (2, 2)), Box((6, 0), (2, 2))]


def test_rows_stay_with_their_rank():
    (spec,) = specs_of([(3,)], "rows")
    room = Box((0, 0), (4, 3))
    assert deal([spec], [[room], [room]]) == [[Piece(0, room)], [Piece(0, room)]]
