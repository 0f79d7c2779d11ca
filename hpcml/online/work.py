"""What a group that simulates is given to do, and how that is written in a message."""

from dataclasses import dataclass
from typing import Self

import numpy as np

HEAD = np.dtype([("simulation", "=i8"), ("parameters", "=i8"), ("samples", "=i8"), ("spare", "=i8")])
"""Then the parameters, float64 each, and for each sample a byte, 1 where it is wanted. A simulation of -1: there is no more."""


@dataclass(frozen=True, slots=True)
class Work:
    """One simulation.

    Attributes
    ----------
    simulation : int
        Its number.
    parameters : tuple of float
        In the order of the case.
    wanted : bytes
        For each of its samples 1 where it is to be sent, 0 where it is there already.

    Examples
    --------
    >>> Work.read(Work(3, (0.5,), b"\\x01\\x00").written())
    Work(simulation=3, parameters=(0.5,), wanted=b'\\x01\\x00')
    """

    simulation: int
    parameters: tuple[float, ...]
    wanted: bytes

    def written(self) -> np.ndarray:
        """The message: `HEAD`, parameters, a byte for each sample."""
        return _message(self.simulation, self.parameters, self.wanted)

    @classmethod
    def read(cls, message: np.ndarray) -> Self | None:
        """What a message says; None where there is no more."""
        head = message[: HEAD.itemsize].view(HEAD)[0]
        if head["simulation"] < 0:
            return None
        end = HEAD.itemsize + 8 * int(head["parameters"])
        parameters = tuple(message[HEAD.itemsize : end].view(np.float64).tolist())
        return cls(int(head["simulation"]), parameters, message[end : end + int(head["samples"])].tobytes())

    @staticmethod
    def none() -> np.ndarray:
        """The message that there is no more."""
        return _message(-1, (), b"")


def _message(simulation: int, parameters: tuple[float, ...], wanted: bytes) -> np.ndarray:
    head = np.array([(simulation, len(parameters), len(wanted), 0)], HEAD)
    parts = head.tobytes(), np.array(parameters, np.float64).tobytes(), wanted
    return np.frombuffer(b"".join(parts), np.uint8).copy()
