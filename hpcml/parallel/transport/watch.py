"""Looking after neighbors that do not come."""

import os
import time
from collections.abc import Mapping

from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.parallel.transport.process import Process

PATIENCE_S = 300.0
"""How long a neighbor that lives may be late: it may be writing a checkpoint or compiling, and no working job is to be ended for that."""


class Watch:
    """What is known of the neighbors' processes.

    Parameters
    ----------
    rank : int
        Of this process, for messages.
    processes : mapping of int to Process
        Each neighbor's; those on other nodes cannot be seen and are left to the launcher.

    Raises
    ------
    ConfigError
        For a value of ``$HPCML_PATIENCE_S`` that is no positive number of seconds.
    """

    def __init__(self, rank: int, processes: Mapping[int, Process]) -> None:
        self.rank = rank
        self._visible = {peer: process for peer, process in processes.items() if process.is_visible}
        wish = os.environ.get("HPCML_PATIENCE_S", str(PATIENCE_S))
        try:
            self._patience = float(wish)
        except ValueError:
            self._patience = 0.0
        if not self._patience > 0:
            raise ConfigError(f"HPCML_PATIENCE_S={wish!r}: expected a positive number of seconds")

    def reason(self, peer: int, since: float, has_left: bool = False) -> CommunicationError | None:
        """Why there is no point in waiting for a neighbor any longer, after having done so ``since`` a time; None if there is."""
        waits = f"rank {self.rank} waits for rank {peer}"
        if has_left:
            return CommunicationError(f"{waits}, which has closed this exchange or given it up: look for an error on that rank")
        if peer in self._visible and not self._visible[peer].is_alive:
            return CommunicationError(f"{waits}, whose process {self._visible[peer].pid} has ended: look for its last words")
        waited = time.monotonic() - since
        if waited > self._patience:
            return CommunicationError(
                f"{waits} since {waited:.0f} s, and it lives but does not come: see that all ranks exchange equally often, "
                "or set HPCML_PATIENCE_S to a longer time"
            )
        return None
