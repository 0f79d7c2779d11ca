"""In which order trainers take in what simulations send, the same on all that share a field."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from hpcml.mpi.patience import wait
from hpcml.online.desk import Desk
from hpcml.online.inlet import Lane
from hpcml.online.message import END
from hpcml.parallel.space import Space


class Intake:
    """Lanes of all simulations, and whose turn it is.

    Parameters
    ----------
    comm : MPI.Intracomm
        All ranks of both roles.
    space : Space
        Of the trainers.
    lanes : sequence of Lane
        One of every group that simulates.
    desk : Desk or None
        On the first trainer; it is served whenever this rank waits.
    ordered : bool
        Whether lanes come in turn, whichever is faster.

    Attributes
    ----------
    turn : int
        Lane that is looked at first.
    waited : float
        Seconds spent in waiting for states; it may be set.

    Communication
    -------------
    Where ranks share a field, the first of them says which lane is next: one number. What is waited for ends with an error where a
    simulation does not come, see `hpcml.mpi.patience`.
    """

    def __init__(self, comm: MPI.Intracomm, space: Space, lanes: Sequence[Lane], desk: Desk | None, ordered: bool) -> None:
        self.lanes, self.desk, self.ordered = lanes, desk, ordered
        self.turn, self.waited = 0, 0.0
        self._comm, self._sharing = comm, space.comm
        self._times = np.zeros((len(lanes), 2))
        self._last: dict[int, str] = {}

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return all(lane.ended for lane in self.lanes)

    @property
    def solver_seconds(self) -> tuple[float, float]:
        """Seconds that first ranks of simulations have spent in their solvers, and in waiting for trainers."""
        busy, stalled = self._times.sum(0).tolist()
        return busy, stalled

    def next_lane(self, waiting: bool) -> Lane | None:
        """The lane whose next state is taken; None if none has come and nobody waits.

        Communication
        -------------
        Collective over the ranks that share a field.
        """
        in_turn = [self.lanes[(self.turn + k) % len(self.lanes)] for k in range(len(self.lanes))]
        candidates = [lane for lane in in_turn if not lane.ended]
        chosen: Lane | None = None
        if self._sharing.rank == 0:
            chosen = self._first(candidates[:1] if self.ordered else candidates, waiting)
        if self._sharing.size == 1:
            return chosen
        number = np.array([-1 if chosen is None else chosen.group], np.int64)
        request = self._sharing.Ibcast(number)
        self._wait(request.Test, candidates)
        if number[0] < 0:
            return None
        chosen = self.lanes[number[0]]
        self._wait(chosen.arrived, [chosen])
        return chosen

    def advance(self, lane: Lane, in_turn: bool = True) -> None:
        """Let go of the state of a lane; unless said otherwise, the next lane has its turn."""
        if lane.header["kind"] != END:
            self._times[lane.group] = lane.header["busy"], lane.header["stalled"]
            self._last[lane.group] = f"after step {lane.header['step']} of simulation {lane.header['simulation']}"
        if in_turn:
            self.turn = (lane.group + 1) % len(self.lanes)
        lane.advance()

    def drain(self) -> None:
        """Tell simulations that no more is wanted, and let go of what they still send, as if it had not been sent.

        Communication
        -------------
        Ends when all simulations have said that nothing more comes.
        """
        if self.desk is not None:
            self.desk.halt()
        for lane in self.lanes:
            while not lane.ended:
                self._wait(lane.arrived, [lane])
                self.advance(lane)
        if (desk := self.desk) is not None:
            self._wait(lambda: desk.settled, self.lanes)

    def serve(self) -> bool:
        """Answer simulations; False, so that it can be part of what is waited for."""
        if self.desk is not None:
            self.desk.serve()
        return False

    def _first(self, candidates: Sequence[Lane], waiting: bool) -> Lane | None:
        found: list[Lane] = []

        def look() -> bool:
            found[:] = [lane for lane in candidates if lane.arrived()][:1]
            return bool(found)

        if not look() and waiting:
            self._wait(look, candidates)
        return found[0] if found else None

    def _wait(self, done: Callable[[], bool], lanes: Sequence[Lane]) -> None:
        if done():
            return
        start = time.monotonic()
        senders = lambda: sorted({rank for lane in lanes for rank in lane.senders})  # noqa: E731
        last = lambda: " or ".join(self._last.get(lane.group, "of a first simulation") for lane in lanes[:8])  # noqa: E731
        wait(lambda: self.serve() or done(), lambda: f"the next state {last()}", self._comm, senders)
        self.waited += time.monotonic() - start
