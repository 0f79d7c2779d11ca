"""Rolling on many ranks is torch's on one."""

import pytest
import torch

import hpcml.models.layers as layers
from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.fields import Grid, decompose


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(
    ("shape", "shifts", "dims"),
    [
        ((13,), 1, None),
        ((13,), -30, 0),
        ((9, 7), (4, -3), (0, 1)),
        ((9, 7), 5, -1),
        ((9, 7), (2, 2), (0, 0)),
        ((6, 7, 5), (1, 0, -9), None),
    ],
    ids=str,
)
def test_equals_torch(check, shape, shifts, dims):
    given = (shifts,) if isinstance(shifts, int) else shifts
    where = tuple(range(len(given))) if dims is None else (dims,) if isinstance(dims, int) else dims
    absolute = tuple(d + 2 if d >= 0 else d for d in where)
    check(shape, lambda domain: layers.Roll(domain, shifts, dims), lambda x: torch.roll(x, given, absolute))


@pytest.mark.parallel([2, 3])
def test_whole_turns_move_nothing(comm):
    with decompose(Grid((9, 7)), comm) as domain:
        x = torch.randn(1, 1, *domain.local_shape)
        assert torch.equal(layers.roll(x, domain, (9, -14)), x)


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((9, 7)), comm) as domain:
        for arguments in [((1, 2, 3),), (1, 2), ((1, 2), 0)]:
            with pytest.raises(ConfigError, match="one shift for each dim"):
                layers.Roll(domain, *arguments)


@pytest.mark.parallel([2])
def test_options_that_differ_between_ranks_are_refused(comm):
    """As many cells from other places: only the options tell."""
    with decompose(Grid((8,)), comm) as domain:
        roll = layers.Roll(domain, 2 if comm.rank else -2)
        with pytest.raises(CommunicationError, match=r"rank [01] in Roll 1: .*layout.*rank [01] in Roll 1: .*layers with the same options"):
            roll(torch.ones(1, 1, *domain.local_shape))
