"""What all resolutions of one decomposition have in common: communicators, and the plans made for them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.mpi.call import user_line


@dataclass(slots=True)
class Decomposition:
    """Communicators of a decomposition, everything that communicates over them, and its domains by grid and process grid.

    Attributes
    ----------
    comm : MPI.Intracomm
        Ranks that share one field.
    world_comm : MPI.Intracomm
        All ranks that train one model.
    num_data, data_index : int
        Groups of ranks with fields of their own, and this rank's group.
    owned_comms : list of MPI.Intracomm
        To be freed with it.
    device : torch.device
        Where this rank computes.
    barred : str
        Why nobody may communicate over it now, if so.
    layers : dict of str to int
        How many of each kind were built.
    """

    comm: MPI.Intracomm
    world_comm: MPI.Intracomm
    num_data: int = 1
    data_index: int = 0
    owned_comms: list[MPI.Intracomm] = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    domains: dict[Hashable, Any] = field(default_factory=dict)
    barred: str = ""
    layers: dict[str, int] = field(default_factory=dict)
    _plans: dict[Hashable, Any] = field(default_factory=dict)

    def open(self) -> "Decomposition":
        """Itself, unless it is barred.

        Raises
        ------
        ConfigError
            If it is, with the line of the caller's code.
        """
        if self.barred:
            raise ConfigError(
                f"{self.barred}{user_line()}: a lambda or function holds it, or a layer built on it, where it cannot be found: keep it as "
                "an attribute of a module"
            )
        return self

    def number(self, kind: str) -> str:
        """Name of the next layer of a kind."""
        self.layers[kind] = self.layers.get(kind, 0) + 1
        return f"{kind} {self.layers[kind]}"

    def once(self, key: Hashable, make: Callable[[int], Any]) -> Any:
        """What ``make`` gives at the first call with a key; it gets a number, the same on all ranks, that it may
        give its exchange, and the next one too."""
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = make(2 * len(self._plans))
        return plan

    def close(self) -> None:
        """Close all plans and free the communicators that are its own."""
        for plan in self._plans.values():
            plan.close()
        self._plans.clear()
        while self.owned_comms:
            self.owned_comms.pop().Free()
