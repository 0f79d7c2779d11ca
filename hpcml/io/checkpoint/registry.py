"""What a run registers to be part of every checkpoint, and gets its state back from one."""

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.core.printable import printable
from hpcml.io.checkpoint.restored import Restored
from hpcml.io.files.agree import together


class Registry:
    """Entries of the state, by name."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Callable[[], Any], Callable[[Any], None], bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, name: str, get_state: Callable[[], Any], set_state: Callable[[Any], None], required: bool) -> None:
        """Add an entry: what returns its state, what takes it, and whether a checkpoint must have it."""
        if name in self._entries:
            raise CheckpointError(f"{name!r} is registered already: choose another name")
        self._entries[name] = get_state, set_state, required

    def collect(self) -> dict[str, Any]:
        """The state of all entries."""
        return {name: get_state() for name, (get_state, *_) in self._entries.items()}

    def hand_out(self, restored: Restored, comm: MPI.Intracomm) -> None:
        """Hand every entry its state.

        Raises
        ------
        CheckpointError
            On every rank, where there is none for it or it does not take it.

        Communication
        -------------
        Collective: a byte per entry if all is well.
        """
        for name, (_, set_state, required) in self._entries.items():
            if name not in restored.state and not required:
                continue
            with together(comm, f"{restored.path}: restoring {name!r}"):
                if name not in restored.state:
                    there = printable(", ".join(restored.state))
                    raise CheckpointError(f"{restored.path} holds no {name!r}; it holds {there}: it is of another run")
                set_state(restored.state[name])
