"""Slow one rank of a training down, or none, and count how often it is named, and whether anybody is who is not slow.

    mpiexec -n 4 python tests/mpi/find_slow_ranks.py 20 100            20 trainings with a slow rank, 100 without
    mpiexec -n 4 python tests/mpi/find_slow_ranks.py 0 0 --overhead    what the monitor costs

Prints a line of JSON for each training, and a last one of counts; the exit status is 1 if a rank was missed or wrongly named.
"""

import argparse
import json
import random
import statistics
import sys
import time

import torch

import hpcml.mpi
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose
from hpcml.models import FNO
from hpcml.mpi import StopSignal
from hpcml.mpi.monitor import Monitor
from hpcml.training.loss import mse
from hpcml.training.trainer import Trainer

DELAY_S = 0.05
WITHIN = 3
"""Steps from the first slow one in which it is to be named."""


class Delay:
    """The loss of a training, which takes longer on one rank from a step on; several calls make a step."""

    def __init__(self):
        self.rank, self.first, self.trainer, self.last = None, 0, None, -1

    def __call__(self, space, prediction, target):
        if space.comm.rank == self.rank and self.first <= self.trainer.step != self.last:
            self.last = self.trainer.step
            time.sleep(DELAY_S)
        return mse(space, prediction, target)


def train(domain, updates, delay, monitor=None):
    torch.manual_seed(0)
    x = torch.randn(8, 1, *domain.local_shape)
    model = FNO(domain, channels=8, modes=8)
    delay.trainer = trainer = Trainer(model, Pairs(domain, x, x), None, loss=delay, batch_size=2, monitor=monitor, validate_every=updates)
    with StopSignal(domain.comm) as stop:  # as in `hpcml train`
        trainer.keep(None, stop)
        trainer.fit(updates=updates)


def trial(domain, number, slow, updates):
    """One training; on rank 0 what was said of it, as pairs of an update and a line."""
    chance, delay, said = random.Random(number), Delay(), []
    first = chance.randrange(12, updates - 2 * WITHIN)
    if slow:
        delay.rank, delay.first = chance.randrange(domain.comm.size), first
    with Monitor(domain.comm, tell=lambda line, _: said.append((delay.trainer.step, line))) as monitor:
        train(domain, first + 2 * WITHIN if slow else updates, delay, monitor)
    named = [(step, line) for step, line in said if line]
    culprit = f"rank {delay.rank} on"
    right = any(line.startswith(culprit) and "," not in line.partition(" hold")[0] for _, line in named)
    wrong = [line for step, line in named if not slow or step <= first or not line.startswith(culprit)]
    in_time = right and named[0][0] - first <= WITHIN
    if domain.comm.rank == 0:
        found = {"slow": slow, "rank": delay.rank, "from": first if slow else None, "named": right, "in_time": in_time, "wrong": wrong}
        print(json.dumps(found | {"after": named[0][0] - first if named else None}), flush=True)
    return right, in_time, bool(wrong)


def overhead(domain, updates, rounds):
    """Share of a step that the monitor takes: seconds with it by seconds without, in turn, of the processor of the busiest rank."""
    ratios = []
    for _ in range(rounds):
        seconds = []
        for monitor in (None, Monitor(domain.comm)):
            domain.comm.Barrier()
            start = time.process_time(), time.monotonic()
            train(domain, updates, Delay(), monitor)
            seconds.append((time.process_time() - start[0], time.monotonic() - start[1]))
            if monitor is not None:
                monitor.close()
        every = domain.comm.gather(seconds)
        if domain.comm.rank == 0:
            ratios.append([max(rank[1][k] for rank in every) / max(rank[0][k] for rank in every) for k in (0, 1)])
    if domain.comm.rank == 0:
        more = [round(statistics.median(r[k] for r in ratios) - 1, 4) for k in (0, 1)]
        print(json.dumps({"more_processor_time": more[0], "more_time": more[1]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slow", type=int, help="trainings with a slow rank")
    parser.add_argument("clean", type=int, help="trainings without")
    parser.add_argument("--updates", type=int, default=40, help="most updates of a training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overhead", action="store_true")
    args = parser.parse_args()
    comm = hpcml.mpi.world().comm
    with decompose(Grid((32, 32)), comm) as domain:
        if args.overhead:
            overhead(domain, 60, 7)
        slow = [trial(domain, args.seed + k, True, args.updates) for k in range(args.slow)]
        clean = [trial(domain, args.seed + k, False, args.updates) for k in range(args.clean)]
    missed, late, wrong = sum(not s[0] for s in slow), sum(not s[1] for s in slow), sum(s[2] for s in (*slow, *clean))
    if comm.rank == 0:
        counts = {"slow": len(slow), "named": len(slow) - missed, "in_time": len(slow) - late, "clean": len(clean), "wrong": wrong}
        print(json.dumps(counts))
    return int(comm.bcast(wrong > 0 or late > len(slow) // 20))


if __name__ == "__main__":
    sys.exit(main())
