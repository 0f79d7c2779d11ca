"""Buffers keep to the published rules, whatever comes and is drawn in whatever order; a restart draws what it would have."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcml.online import Balanced, Buffer, Draws, Fifo, Firo, History, Reservoir

KINDS = [Fifo, Firo, Reservoir, Balanced, History]


class Filled:
    """A buffer with what lies at its places, as a trainer uses it."""

    def __init__(self, kind, capacity, watermark, seed=0, **options):
        self.buffer = kind(capacity=capacity, watermark=watermark, draws=Draws(seed, "test"), **options)
        self.there, self.put_so_far, self.drawn = {}, 0, []

    def put(self):
        self.there[self.buffer.put()] = self.put_so_far
        self.put_so_far += 1

    def draw(self):
        self.drawn.append(self.there[self.buffer.draw()])
        return self.drawn[-1]

    def held(self):
        return {self.there[place] for place in (*self.buffer.unseen, *self.buffer.seen)}


@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(0, 8), st.lists(st.booleans(), max_size=80))
def test_nothing_is_lost_before_it_was_drawn_and_nothing_is_drawn_at_or_below_the_watermark(kind, capacity, watermark, wishes):
    filled = Filled(kind, capacity, min(watermark, capacity - 1))
    buffer = filled.buffer
    for puts in wishes:
        if puts and buffer.room:
            filled.put()
        elif not puts and buffer.can_draw():
            assert buffer.population > buffer.watermark
            filled.draw()
        assert isinstance(buffer, Buffer) and buffer.population <= capacity
        assert filled.held() | set(filled.drawn) == set(range(filled.put_so_far))
        assert buffer.room or buffer.can_draw(), "simulations and trainers would wait for each other"
    buffer.over = True
    while buffer.can_draw():
        filled.draw()
    assert set(filled.drawn) == set(range(filled.put_so_far)) and buffer.population == 0
    times = Counter(filled.drawn).values()
    assert kind in (Reservoir, Balanced, History) or set(times) <= {1}


def test_first_in_is_first_out_and_does_not_know_a_watermark():
    filled = Filled(Fifo, 3, 2)
    filled.put()
    assert filled.buffer.can_draw() and filled.draw() == 0
    for _ in range(3):
        filled.put()
    assert filled.buffer.room == 0 and [filled.draw() for _ in range(3)] == [1, 2, 3]


def test_first_in_random_out_gives_each_as_often_as_it_was_told():
    filled = Filled(Firo, 20, 0, draws_each=3)
    for _ in range(20):
        filled.put()
    filled.buffer.over = True
    while filled.buffer.can_draw():
        filled.draw()
    assert Counter(filled.drawn) == dict.fromkeys(range(20), 3) and filled.drawn != sorted(filled.drawn)


def test_a_reservoir_evicts_what_was_seen_and_waits_where_nothing_was():
    filled = Filled(Reservoir, 4, 1)
    for _ in range(4):
        filled.put()
    assert filled.buffer.room == 0  # all unseen: whoever simulates waits
    seen = filled.draw()
    assert filled.buffer.room == 1 and seen in filled.held()  # it may be drawn again
    filled.put()
    assert seen not in filled.held() and filled.held() == {0, 1, 2, 3, 4} - {seen}


@pytest.mark.parametrize("kind", [Firo, Reservoir])
def test_each_sample_is_drawn_with_equal_chances(kind):
    counts = Counter()
    for seed in range(4000):
        filled = Filled(kind, 8, 0, seed)
        for _ in range(8):
            filled.put()
        if kind is Reservoir:
            filled.draw(), filled.draw()  # seen and unseen ones have the same chances
        counts[filled.draw()] += 1
    # Each of 8 counts is binomial with mean 500 and deviation 21: five deviations are left in 8 tests of 2 million.
    assert max(abs(counts[k] - 500) for k in range(8)) < 105


def test_a_balanced_buffer_draws_evenly_and_evicts_what_was_drawn_most():
    filled, plain = Filled(Balanced, 16, 0), Filled(Reservoir, 16, 0)
    for each in (filled, plain):
        for _ in range(16):
            each.put()
        for _ in range(16 * 6):
            each.draw()
    counts, others = (Counter(each.drawn) for each in (filled, plain))
    assert max(counts.values()) - min(counts[k] for k in range(16)) < max(others.values()) - min(others[k] for k in range(16))
    most = max(counts.values())
    filled.put()
    (gone,) = set(range(16)) - filled.held()
    assert counts[gone] == most and 16 in filled.held()


def test_a_history_keeps_samples_of_all_times_alike():
    """A stream twenty times as long as the buffer, learned from as it comes; a reservoir has forgotten its first half."""
    kept = {kind: Counter() for kind in (History, Reservoir)}
    for kind, counts in kept.items():
        for seed in range(200):
            filled = Filled(kind, 10, 0, seed)
            for _ in range(200):
                while not filled.buffer.room:
                    filled.draw()
                filled.put()
                for _ in range(4):
                    filled.draw()
            counts.update(5 * number // 200 for number in filled.held())
    # Of the 2,000 places, each fifth has a fifth of those that do not hold the newest samples, one or two; the deviation is 17.
    first, *_ = shares = [kept[History][fifth] for fifth in range(4)]
    assert 300 < first < 400 and max(shares) - min(shares) < 5 * 17 and kept[Reservoir][0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_draws_what_it_would_have_drawn(kind):
    options = {"draws_each": 2} if kind is Firo else {}
    first = Filled(kind, 12, 3, **options)
    for _ in range(9):
        first.put()
    for _ in range(4):
        first.draw()
    second = Filled(kind, 12, 3, **options)
    second.buffer.go_on(first.buffer.state())
    second.buffer.draws.count, second.there, second.put_so_far = first.buffer.draws.count, dict(first.there), first.put_so_far
    first.drawn.clear()
    for filled in (first, second):
        for _ in range(12):
            if filled.buffer.room:
                filled.put()
            filled.draw()
    assert first.drawn == second.drawn
