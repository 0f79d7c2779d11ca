"""Whatever a group is meant to survive, it survives, to the last bit."""

import itertools

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.parity.parity_group import ParityGroup, decode, encode, pick_groups

SEGMENT = 4096


@pytest.mark.parametrize(("size", "losses"), [(2, 1), (3, 1), (4, 1), (3, 2), (4, 2), (5, 2)])
def test_every_loss_that_is_allowed_is_made_good(size, losses):
    group = ParityGroup(tuple(range(size)), losses, SEGMENT)
    images = np.random.default_rng(size).integers(0, 256, (size, group.width, SEGMENT), dtype=np.uint8)
    for stripe in range(size):
        givers, holders = group.contributors(stripe), group.holders(stripe)
        assert sorted(givers + holders) == list(range(size))
        data = [images[member, group.stripes_fed(member).index(stripe)].tobytes() for member in givers]
        parity = [encode(group, number, memoryview(b"".join(data))) for number in range(losses)]
        assert {len(bundle) for bundle in parity} == {group.bundle}
        for lost in itertools.combinations(range(size), losses):
            left = {number: part for number, part in enumerate(data) if number not in lost}
            spare = {number: part for number, part in enumerate(parity) if group.width + number not in lost}
            for wanted in (number for number in lost if number < group.width):
                assert decode(group, wanted, left, spare) == data[wanted]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_segment_is_in_one_stripe(size):
    group = ParityGroup(tuple(range(size)), 1, SEGMENT)
    for member in range(size):
        assert sorted(group.stripes_fed(member) + group.stripes_held(member)) == list(range(size))
        assert len(group.stripes_fed(member)) == group.width


@pytest.mark.parametrize(("nodes", "group_size", "groups"), [
    ("aabb", 2, [(0, 2), (1, 3)]),
    ("abab", 2, [(0, 1), (2, 3)]),
    ("aaaa", 4, [(0, 1, 2, 3)]),
    ("aabbcc", 3, [(0, 2, 4), (1, 3, 5)]),
    ("abcde", 2, [(0, 1), (2, 3, 4)]),
    ("a", 4, [(0,)]),
])  # fmt: skip
def test_members_of_a_group_lie_on_different_nodes(nodes, group_size, groups):
    assert pick_groups(nodes, group_size) == groups


def test_impossible_groups_are_refused():
    for members, losses, what in (((0,), 1, "larger groups"), ((0, 1), 2, "larger groups"), ((0, 1), 3, "1 or 2 losses")):
        with pytest.raises(CheckpointError, match=what):
            ParityGroup(members, losses, SEGMENT)
