"""One canonical form: the same bytes in the same order, whatever described them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpcml.core.errors import ShapeError
from hpcml.kernels.strided_box import StridedBox, box_of, canonical_box

loops = st.lists(st.tuples(st.integers(1, 4), st.integers(-9, 9)), min_size=0, max_size=4)


def visited(box):
    """Every byte in order: what the form stands for."""
    index = np.array([box.start])
    for count, stride in zip(box.counts, box.strides, strict=True):
        index = np.add.outer(index, np.arange(count) * stride).ravel()
    return index.tolist()


@given(loops)
def test_canonical_form_visits_the_same_bytes_in_the_same_order(nest):
    counts, strides = [n for n, _ in nest], [s for _, s in nest]
    assert visited(canonical_box(7, counts, strides)) == visited(StridedBox(7, tuple(counts), tuple(strides)))


@given(loops, loops)
def test_equal_bytes_are_equal_forms(one, other):
    boxes = [canonical_box(0, [n for n, _ in nest], [s for _, s in nest]) for nest in (one, other)]
    assert (boxes[0] == boxes[1]) == (visited(boxes[0]) == visited(boxes[1]))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_pattern_forgets_the_order_of_loops(counts, random):
    strides = [4 * int(np.prod([n + 1 for n in counts[d + 1 :]])) for d in range(len(counts))]
    nest = [*zip(counts, strides, strict=True), (4, 1)]
    shuffled = random.sample(nest, len(nest))
    forward, other = (canonical_box(0, [n for n, _ in m], [s for _, s in m]) for m in (nest, shuffled))
    assert forward.pattern == other.pattern
    assert visited(forward.pattern) == sorted(visited(other))


def test_pattern_turns_loops_forward_and_drops_repetitions():
    assert canonical_box(24, (4, 3, 8), (-8, 0, 1)).pattern == canonical_box(0, (32,), (1,))


@pytest.mark.parametrize("index", [(..., 2), (0, np.s_[::-2]), np.s_[1:3, 0:0], (-1,), np.s_[:, 1, 4:1:-1]])
@pytest.mark.parametrize("permutation", [(0, 1, 2), (2, 0, 1)])
def test_numpy_index_and_its_view_are_one_form(index, permutation):
    base = np.arange(60, dtype=np.int32).reshape(3, 4, 5).transpose(permutation)
    view, box = base[index], box_of(base, index)
    assert box.nbytes == view.nbytes
    flat = np.frombuffer(np.arange(60, dtype=np.int32).tobytes(), np.uint8)
    if view.size:
        assert flat[visited(box)].tobytes() == view.tobytes()


def test_torch_and_numpy_views_of_the_same_memory_are_equal():
    array = np.zeros((4, 5, 6))
    assert box_of(array, (..., slice(1, 3))) == box_of(torch.from_numpy(array), (..., slice(1, 3)))
    assert box_of(array[:, 1:3]).counts == (4, 96)


@pytest.mark.parametrize("index", [(5,), (0, 0, 0, 0), ([0, 1],), (None, 0)])
def test_an_index_that_is_no_box_is_named(index):
    with pytest.raises(ShapeError, match=r"index|integers and slices"):
        box_of(np.zeros((4, 5, 6)), index)


def test_negative_counts_are_refused():
    with pytest.raises(ShapeError, match="negative"):
        canonical_box(0, (-1,), (1,))
