"""Updates from simulations that run: what comes goes into a buffer, and what is drawn from it goes to the trainer."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.core.online_data import Online
from hpcml.data.stream import Part, Stream, Watched
from hpcml.fields.domain import Domain
from hpcml.mpi.patience import wait
from hpcml.mpi.reductions import all_sum
from hpcml.online.buffer import Buffer
from hpcml.online.draws import Draws
from hpcml.online.inlet import Lane
from hpcml.online.intake import Intake
from hpcml.online.ledger import AWAITED, KEPT, REFUSED, Ledger, Tally
from hpcml.online.message import END
from hpcml.online.model_residual import ModelResidual, StepResidual
from hpcml.online.samples_of import inputs_of
from hpcml.online.steering import Steering
from hpcml.online.store import Store

SCORED_STATES = 2  # from which a model that steps is scored at each candidate
_log = logging.getLogger(__name__)


class OnlineStream(Stream):
    """What trainers learn from while others simulate.

        lanes --taken in, some for each update--> buffer --drawn--> update

    Parameters
    ----------
    domain : Domain
        Of the trainers.
    spec : Online
        Table of the case.
    intake : Intake
        Where states come from.
    steering : Steering
        Says the parameters of simulations.
    residual : callable, optional
        Of a step, where the sampler wants candidates to be scored.
    make_buffer : callable
        Makes the buffer of capacity, watermark and draws.
    batch_size : int
        Samples of an update, of all groups of trainers.
    channels : int
        Of a state.
    dtype : torch.dtype
        Of the fields.
    relative : bool
        Whether the sampler hears of relative errors of samples, else of mean squares.

    Attributes
    ----------
    ledger : Ledger
        What came to this rank's group.
    buffer : Buffer
        Of this rank's group.

    Communication
    -------------
    Iterating is collective over the trainers: one number an update; where ranks share a field, one number for each sample that is taken in.
    `state_dict` and `numbers` are collective too.
    """

    space: Domain

    def __init__(
        self,
        domain: Domain,
        spec: Online,
        intake: Intake,
        steering: Steering,
        residual: StepResidual | None,
        make_buffer: Callable[[int, int, Draws], Buffer],
        batch_size: int,
        channels: int,
        dtype: torch.dtype,
        relative: bool = True,
    ) -> None:
        self.space, self._spec, self._intake, self._desk = domain, spec, intake, intake.desk
        self._pairs = spec.inputs == "state"
        self._batch = batch_size // domain.num_data
        self._store = Store(domain, spec.capacity, 1 + self._pairs, channels, len(spec.parameters), dtype)
        here, groups = self._store.places.size, domain.num_data
        draws = Draws(spec.seed, ("buffer", domain.data_index))
        self.buffer = make_buffer(here, min(spec.watermark // groups, here - 1), draws)
        self.ledger = Ledger(spec.simulations, spec.samples_per_simulation)
        self._steering, self._residual, self._relative = steering, residual, relative
        self._score: Callable[[np.ndarray], np.ndarray] | None = None
        self._given: list[tuple[int, int]] = []
        most = spec.new_per_update or (batch_size if spec.ordered else None)
        self._most = None if most is None else most / groups
        self._credit = 0.0
        lanes = len(intake.lanes)
        before = (lanes, channels, *domain.local_shape) if self._pairs else (0,)
        self._before, self._before_is = torch.zeros(before, dtype=dtype, device=domain.device), [(-1, -1, False)] * lanes
        self._fresh = self._drawn = 0
        self._began: float | None = None
        self._begun = False

    def __iter__(self) -> Iterator[list[Part]]:
        self.begin()
        while True:
            self._steering.after_update(self._score)
            self._take_in()
            parts: list[tuple[Tensor, Tensor]] = []
            self._given = []
            missing = self._batch
            while missing and self._can_draw():
                drawn = []
                while missing and self.buffer.can_draw():
                    drawn.append(self._draw())
                    missing -= 1
                parts.append(self._read(drawn))
                self._given += [(self._store.simulation[k], self._store.sample[k]) for k in drawn]
            if self._agreed_end(not parts):
                return
            self._steering.updates += 1
            yield [(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]), 1.0)]

    def begin(self) -> None:
        """Let simulations begin, with what the ledger says has not come.

        Communication
        -------------
        Collective over the trainers.
        """
        if not self._begun:
            wanted = self.ledger.merged(self.space.world_comm).marks == AWAITED
            if self._desk is not None:
                self._desk.begin(wanted)
            self._begun = True

    def watched(self, model: nn.Module, loss: Watched) -> Watched:
        if self._residual is not None:
            score = ModelResidual(model, self.space, self._spec, self._residual)
            self._score = lambda parameters: score(parameters, self._some_states() if self._pairs else None)
        return self._steering.looking(loss, lambda: self._given, self._relative)

    def close(self) -> None:
        self._intake.drain()
        came = self.tally()
        if self.space.world_comm.rank == 0:
            _log.info("%s", came)

    def tally(self) -> Tally:
        """What became of all samples. Collective over the trainers."""
        return self._whole().tally()

    def numbers(self) -> dict[str, float]:
        since, fresh, drawn = self._since_watermark(), self._fresh, self._drawn
        idle = self._intake.waited if since else 0.0
        busy, stalled = self._intake.solver_seconds
        there = float(self.buffer.population) / self.space.comm.size
        mine = [idle, since, fresh, drawn, busy, stalled, there, self._steering.seconds]
        idle, since, fresh, drawn, busy, stalled, there, steering = all_sum(np.array(mine), self.space.world_comm).tolist()
        came = self.tally()
        return {
            "samples_in": float(came.acknowledged),
            "samples_refused": float(came.refused),
            "buffered": round(there),
            "fresh_share": fresh / max(drawn, 1),
            "trainer_idle": idle / max(since, 1e-9),
            "solver_seconds": busy,
            "solver_stall": stalled / max(busy + stalled, 1e-9),
            "steering": steering / since if since else 0.0,
        }

    def state_dict(self) -> dict[str, Any]:
        groups, me = self.space.num_data, self.space.data_index
        mine = np.zeros((groups, 3))
        if self.space.comm.rank == 0:
            mine[me] = self.buffer.draws.count, self._intake.turn, self._credit
        failed = np.zeros(self._spec.simulations, np.uint8)
        if self._desk is not None:
            failed[list(self._desk.failed)] = 1
        return {
            "fields": self._store.fields_to_save(),
            "places": self._store.rows_to_save(self.buffer.state()),
            "marks": self._whole().marks,
            "steering": self._steering.state_dict(),
            "failed": all_sum(failed, self.space.world_comm),
            "groups": all_sum(mine, self.space.world_comm).ravel().tolist(),
            "simulating": len(self._intake.lanes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.buffer.go_on(self._store.load(state["fields"], state["places"]))
        self.ledger.marks[:] = np.asarray(state["marks"])
        self._steering.load_state_dict(state["steering"])
        if self._desk is not None:
            self._desk.failed = dict.fromkeys(np.flatnonzero(np.asarray(state["failed"])).tolist(), "before the restart")
        groups = np.array(state["groups"]).reshape(-1, 3)
        same = len(groups) == self.space.num_data
        self.buffer.draws.count = int(groups[self.space.data_index, 0] if same else groups[:, 0].max())
        if same and state["simulating"] == len(self._intake.lanes):
            self._intake.turn, self._credit = int(groups[self.space.data_index, 1]), float(groups[self.space.data_index, 2])

    def _take_in(self) -> None:
        """What comes with this update: up to the limit, and as long as there is room."""
        self._intake.serve()
        if self._most is not None:
            self._credit = min(self._credit, self._most) + self._most  # what an update leaves is not saved up
        while self.buffer.room and (self._most is None or self._credit >= 1) and not self._intake.over:
            lane = self._intake.next_lane(waiting=self._intake.ordered)
            if lane is None:
                return
            self._credit -= self._take(lane)

    def _can_draw(self) -> bool:
        """Whether there is a sample to draw, waiting for it where more may come."""
        while not self.buffer.can_draw() and not self._intake.over:
            lane = self._intake.next_lane(waiting=True)
            assert lane is not None
            self._take(lane)
        self.buffer.over = self._intake.over
        return self.buffer.can_draw()

    def _take(self, lane: Lane) -> int:
        """Take in the next state of a lane; how many samples it brought, or cost."""
        header, number = lane.header, lane.group
        if header["kind"] == END:
            self._intake.advance(lane)
            return 0
        simulation, step, finite = int(header["simulation"]), int(header["step"]), bool(header["finite"])
        if self._desk is not None:
            self._desk.came(simulation)
        sample, before = step, (simulation, step - 1)
        if self._pairs:
            sample, known = step - 1, self._before_is[number]
            self._before_is[number] = simulation, step, finite
            if known[:2] != before or self.ledger.marks[simulation, sample] != AWAITED:  # the first of a pair, sent for what comes
                lane.copy_to(self._before[number])
                self._intake.advance(lane, in_turn=False)
                return 0
            finite = finite and known[2]
        if self.ledger.acknowledge(simulation, sample, KEPT if finite else REFUSED) and finite:
            self._put(lane, simulation, sample)
        if self._pairs:
            lane.copy_to(self._before[number])
        self._intake.advance(lane)
        return 1

    def _put(self, lane: Lane, simulation: int, sample: int) -> None:
        place, store = self.buffer.put(), self._store
        store.simulation[place], store.sample[place] = simulation, sample
        store.parameters[place] = torch.from_numpy(lane.parameters)
        if self._pairs:
            store.fields[place, 0] = self._before[lane.group]
        lane.copy_to(store.fields[place, -1])
        if self._began is None and self.buffer.can_draw():
            self._began, self._intake.waited = time.monotonic(), 0.0

    def _draw(self) -> int:
        fresh = len(self.buffer.unseen)
        place = self.buffer.draw()
        self._fresh, self._drawn = self._fresh + (len(self.buffer.unseen) < fresh), self._drawn + 1
        self.ledger.use(self._store.simulation[place], self._store.sample[place])
        return place

    def _read(self, places: list[int]) -> tuple[Tensor, Tensor]:
        """Inputs and targets at some places, copied."""
        chosen, store = torch.tensor(places), self._store
        fields = store.fields[chosen.to(store.fields.device)]
        times = torch.from_numpy(store.sample[places]).double() * self._spec.interval
        return inputs_of(fields[:, 0] if self._pairs else None, store.parameters[chosen], times, self.space, fields.dtype), fields[:, -1]

    def _some_states(self) -> Tensor:
        """States of this group's buffer, spread over its places."""
        there = sorted([*self.buffer.unseen, *self.buffer.seen])
        return self._store.fields[[there[k] for k in np.linspace(0, len(there) - 1, SCORED_STATES).round().astype(int)], 0]

    def _agreed_end(self, empty: bool) -> bool:
        """Whether any group has nothing more to learn from; raises the error of the first trainer on all."""
        comm = self.space.world_comm
        error = None if self._desk is None else self._desk.error
        if comm.size > 1:
            said = np.array([error is not None, empty], np.int64)
            request = comm.Iallreduce(MPI.IN_PLACE, said, MPI.MAX)
            wait(lambda: self._intake.serve() or request.Test(), lambda: "the other trainers", comm)
            empty = bool(said[1])
            error = comm.bcast(error) if said[0] else None
        if error is not None:
            raise error
        return empty

    def _whole(self) -> Ledger:
        return self.ledger.merged(self.space.world_comm, () if self._desk is None else self._desk.failed)

    def _since_watermark(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began
