"""Work that outlives its ranks: where some die, those that are left begin it again, from what was saved last.

    work on 4 ranks --rank 2 dies--> all leave what they are in --> agree who is left --> work on 3 ranks

Where MPI does not outlive its ranks, see `hpcml.mpi.lost_ranks`, the launcher ends the job, and whoever started it starts it again.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ConfigError, HpcmlError, LostRankError, TopologyError
from hpcml.mpi import abort
from hpcml.mpi.lost_ranks import go_on_with, lost_ranks, outlives_ranks
from hpcml.mpi.patience import lenient
from hpcml.mpi.patient_comm import PatientComm, revoke_all
from hpcml.mpi.roll_call import list_ranks
from hpcml.mpi.warden import Warden
from hpcml.mpi.world import World, replace_world

LEARN_S = 5.0
"""Until a death has come round, where an error of communication may come of one; the runtime takes a tenth of a second."""
LOOK_S = 1e-3
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


def surviving(world: World, work: Callable[[World], Result], spares: int = 0) -> Result:
    """Do work on all ranks; where some die meanwhile, do it again on those that are left.

    A rank that has been stopped for some seconds, or that does not come to a call and says nothing when patience ends, is killed by those
    of its node.

    Parameters
    ----------
    world : World
        All ranks.
    work : callable
        Is given the ranks that it runs on. Begun again it is to go on from what it has saved, on fewer ranks: where it refuses their number
        with a `TopologyError`, the last of them stand by, and take the place of who dies next.
    spares : int
        Ranks that stand by from the beginning.

    Returns
    -------
    object
        What the work returns; where ranks stand by, what it returns on rank 0.

    Raises
    ------
    ConfigError
        If there are to be spares, and MPI does not outlive its ranks; if they would be all.
    Exception
        What the work raises, unless a rank has died.

    Communication
    -------------
    That of the work; then one agreement, if this MPI outlives its ranks.
    """
    if not outlives_ranks():
        if spares:
            raise ConfigError("ranks that stand by need an MPI that outlives those that die: Open MPI, as mpiexec --with-ft ulfm")
        return work(world)
    if spares >= world.size:
        raise ConfigError(f"{spares} of {world.size} ranks are to stand by, so that none works: start more, or let fewer stand by")
    abort.end_without_finalize()
    left, used = world.comm, world.size - spares
    here = None if spares else world
    with Warden(left) as warden:
        while True:
            done, result = _attempted(work, here, left, used, warden)
            if _agreed(left, done):
                return cast(Result, result)
            before, left, here = left.size, _shrunk(left), None
            used = min(world.size - spares, left.size) if left.size < before else used - 1


def _attempted(
    work: Callable[[World], Result], world: World | None, left: PatientComm, used: int, warden: Warden
) -> tuple[bool, Result | None]:
    """Whether the work has come to its end, and its result; those that stand by wait for that."""
    try:
        world = world or _world_of(left, used)
        result = None if world is None else work(world)
        with lenient():
            shared = left.bcast(result) if used < left.size else result
        if world is None and isinstance(shared, HpcmlError):
            raise shared
        return True, shared
    except TopologyError as error:
        if left.size == MPI.COMM_WORLD.size or used == 1:
            _fail_together(error, world, left, used)
            raise
    except Exception as error:
        if isinstance(error, LostRankError):
            warden.end(error.silent, "does not come and says nothing")
        if not _is_revoked(error) and not _comes_of_a_death(error):
            _fail_together(error, world, left, used)
            raise
    revoke_all()  # who waits for this rank, or for one that has left, hears of it
    return False, None


def _fail_together(error: Exception, world: World | None, left: PatientComm, used: int) -> None:
    """Let those that stand by fail too, where all that work have failed."""
    if used < left.size and world is not None and isinstance(error, HpcmlError) and abort.all_have_failed(world.comm):
        with lenient():
            left.bcast(error)


def _is_revoked(error: Exception) -> bool:
    """Whether another rank has ended what this one was in."""
    return isinstance(error, MPI.Exception) and error.Get_error_class() == MPI.ERR_REVOKED


def _comes_of_a_death(error: Exception) -> bool:
    """Whether ranks have died since the last time, which this rank may hear of later than of what comes of it."""
    end = time.monotonic() + (LEARN_S if isinstance(error, CommunicationError | MPI.Exception) else 0.0)
    while not (died := lost_ranks()) and time.monotonic() < end:
        with suppress(MPI.Exception):  # which it may tell by an error
            MPI.COMM_WORLD.Iprobe()  # the library looks for news when it is called
        time.sleep(LOOK_S)
    return bool(died)


def _agreed(comm: MPI.Intracomm, done: bool) -> bool:
    """Whether all ranks that are left are done. Those that are wait here, for hours if need be."""
    while True:
        word = np.array([done], np.int32)
        try:
            request = comm.Iagree(word)
            while not request.Test():
                time.sleep(LOOK_S)
            return bool(word[0])
        except MPI.Exception:  # all hear of a death alike, until all have taken note of it
            if not lost_ranks():
                raise
            comm.Ack_failed()


def _shrunk(comm: MPI.Intracomm) -> PatientComm:
    """The ranks of a communicator that are left; everything else that this process has open between ranks is of the past."""
    left = PatientComm(comm.Shrink())
    if died := go_on_with(left):
        abort.watch_over(left)
        if left.rank == 0:
            _log.warning("%s died: %d go on from what was saved last", list_ranks(died), left.size)
    return left


def _world_of(left: PatientComm, used: int) -> World | None:
    """The first ranks as a world, on each of them. Collective."""
    part = left.Split(int(left.rank >= used), left.rank)
    if left.rank >= used:
        return None
    world = World(part)
    replace_world(world)
    return world
