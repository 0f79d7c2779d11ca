"""The interval follows the measured cost, and ranks never disagree about it."""

import pytest

from hpcml.io import SaveInterval


class FakeRun:
    """A clock and a checkpointer: steps take 1 s, a save blocks for a while and slows the steps that follow."""

    def __init__(self, blocking, slow_steps, slower):
        self.now, self.saved = 0.0, []
        self.blocking, self.slow_steps, self.slower, self.left = blocking, slow_steps, slower, 0

    def clock(self):
        return self.now

    def save(self, step):
        self.saved.append(step)
        self.now += self.blocking
        self.left = self.slow_steps

    def writing(self):
        return self.left > 0

    def step(self):
        self.now += 1.0 + (self.slower if self.left else 0.0)
        self.left = max(0, self.left - 1)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("blocking", "slow_steps", "slower"), [(0.5, 0, 0.0), (0.2, 3, 0.1), (0.01, 1, 0.0), (0.0, 8, 0.5)])
def test_the_overhead_stays_under_the_share(comm, blocking, slow_steps, slower):
    share, steps = 0.05, 400
    run = FakeRun(blocking * (1 + comm.rank), slow_steps, slower)  # the last rank is the slowest: it decides
    tuner = SaveInterval(run, comm, share=share, clock=run.clock)
    for step in range(steps):
        run.step()
        tuner.after_step(step)
    assert comm.allgather(run.saved) == [run.saved] * comm.size
    # the first save, at an interval not chosen yet, is the only one that may break the share
    cost = blocking * comm.size + slow_steps * slower
    assert len(run.saved) > 1 and (len(run.saved) - 1) * cost <= share * steps + 1e-9
    # and it saves as often as it may, give or take the rounding to whole steps and the first interval
    assert tuner.interval <= cost / share + 1 and len(run.saved) >= (steps - 10) // max(1, tuner.interval)


@pytest.mark.parallel([1])
@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_is_a_share(comm, share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        SaveInterval(FakeRun(0, 0, 0), comm, share=share)


@pytest.mark.parallel([1, 2])
def test_a_short_run_is_told_once_how_often_it_saves(comm, caplog):
    caplog.set_level("INFO")
    run = FakeRun(0.5, 0, 0.0)
    tuner = SaveInterval(run, comm, share=0.2, clock=run.clock)
    for step in range(400):
        run.blocking = 0.2 + 0.8 * (step % 40 > 20)  # the interval changes all the time
        run.step()
        tuner.after_step(step)
    assert sum("saving every" in message for message in caplog.messages) == (comm.rank == 0)
    run.blocking = 100.0  # much more may be lost now than was told: 500 steps of 1 s
    for step in range(400, 20_000):
        run.step()
        tuner.after_step(step)
    assert sum("saving every" in message for message in caplog.messages) in ((2, 3, 4) if comm.rank == 0 else (0,))
