"""Looking after neighbors that do not come."""

from collections.abc import Mapping

from mpi4py import MPI

from hpcml.core.errors import CommunicationError, LostRankError
from hpcml.mpi.call import current_call
from hpcml.mpi.patience import late, patience_s
from hpcml.mpi.process import Process


class Watch:
    """What is known of the neighbors' processes.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    processes : mapping of int to Process
        Each neighbor's; those on other nodes cannot be seen and are left to the launcher.
    what : str
        Is exchanged, for messages.

    Raises
    ------
    ConfigError
        For a value of ``$HPCML_PATIENCE_S`` that is no positive number of seconds.
    """

    def __init__(self, comm: MPI.Intracomm, processes: Mapping[int, Process], what: str = "an exchange") -> None:
        self._comm, self._what = comm, what
        self._visible = {peer: process for peer, process in processes.items() if process.is_visible}
        patience_s()

    def reason(self, peer: int, since: float, has_left: bool = False) -> CommunicationError | None:
        """Why there is no point in waiting for a neighbor any longer, after having done so ``since`` a time; None if there is."""
        waits = f"rank {self._comm.rank} waits in {': '.join(filter(None, (current_call(), self._what)))} for rank {peer}"
        if has_left:
            return CommunicationError(f"{waits}, which has closed this exchange or given it up: look for an error on that rank")
        if peer in self._visible and not self._visible[peer].is_alive:
            return LostRankError(f"{waits}, whose process {self._visible[peer].pid} has ended: look for its last words")
        return late(peer, since, self._what, self._comm)
