"""Every sample is used once per epoch, in an order that does not depend on ranks; groups share every part of every update."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.data.moments import moments
from hpcml.data.samples import Pairs
from hpcml.data.schedule import Schedule
from hpcml.fields import Grid, decompose


@given(st.integers(8, 60), st.integers(8, 20), st.integers(1, 3), st.integers(1, 2), st.integers(0, 5))
def test_groups_and_parts_share_each_update(num_samples, batch_size, accumulate, num_groups, epoch):
    def samples_of(update, parts, groups):
        shares = [list(Schedule(num_samples, batch_size, parts, groups, g, 3).updates(epoch))[update] for g in range(groups)]
        return [torch.cat([share[part].samples for share in shares]) for part in range(parts)], shares[0]

    schedule = Schedule(num_samples, batch_size, 1, 1, 0, 3)
    if num_samples // schedule.num_updates < accumulate * num_groups:
        return
    seen = []
    for update in range(schedule.num_updates):
        (whole,), _ = samples_of(update, 1, 1)
        pieces, share = samples_of(update, accumulate, num_groups)
        assert torch.equal(torch.cat(pieces), whole)
        assert sum(part.weight for part in share) == pytest.approx(1.0)
        seen += whole.tolist()
    assert sorted(seen) == list(range(num_samples))


def test_epochs_differ_and_can_be_entered_in_the_middle():
    schedule = Schedule(20, 5, 1, 1, 0, 0)
    first, second = ([part.samples.tolist() for (part,) in schedule.updates(epoch)] for epoch in (0, 1))
    assert first != second
    assert [part.samples.tolist() for (part,) in schedule.updates(0, first=2)] == first[2:]


def test_too_small_a_batch_is_named():
    with pytest.raises(ConfigError, match="raise training.batch_size"):
        Schedule(10, 2, 2, 2, 0, 0)


@pytest.mark.parallel([1, 2, 3])
def test_moments_are_those_of_the_whole_field(comm):
    with decompose(Grid((7, 5)), comm) as domain:
        whole = torch.randn(6, 2, 7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
        mean, std = moments(domain, whole[domain.index])
        torch.testing.assert_close(mean, whole.mean((0, 2, 3)))
        torch.testing.assert_close(std, whole.std((0, 2, 3), correction=0))


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_moments_of_fields_whose_squares_leave_float32(unit, comm):
    with decompose(Grid((7, 5)), comm) as domain:
        whole = torch.randn(6, 2, 7, 5, generator=torch.Generator().manual_seed(0)) + 2
        mean, std = moments(domain, whole[domain.index] * unit)
        torch.testing.assert_close(mean / unit, whole.mean((0, 2, 3)))
        torch.testing.assert_close(std / unit, whole.std((0, 2, 3), correction=0))


def test_nothing_cannot_be_learned_from():
    with pytest.raises(ConfigError, match="there are no samples to learn from"):
        Schedule(0, 2, 1, 1, 0, 0)


@pytest.mark.parallel([1, 2])
def test_fields_of_another_shape_are_refused(comm):
    with decompose(Grid((8,)), comm) as domain, pytest.raises(ShapeError, match="targets"):
        Pairs(domain, torch.zeros(3, 1, *domain.local_shape), torch.zeros(2, 1, *domain.local_shape))
