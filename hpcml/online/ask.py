"""What a group that simulates says to the first trainer, in a message of one length."""

from dataclasses import dataclass
from typing import Self

import numpy as np

MOST_BYTES = 1024
HEAD = np.dtype([("group", "=i8"), ("simulation", "=i8"), ("sent", "=i8"), ("length", "=i8")])
"""Then as many bytes of text, UTF-8. A simulation of -1 asks for work; another one has failed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Give me work, or: a simulation has failed.

    Attributes
    ----------
    group : int
        That says it.
    simulation : int or None
        Which has failed; None where work is asked for.
    sent : int
        States of it that were sent.
    text : str
        How it has failed; what does not fit is cut off.

    Examples
    --------
    >>> Ask.read(Ask(2, 7, 3, "no more heat").written())
    Ask(group=2, simulation=7, sent=3, text='no more heat')
    """

    group: int
    simulation: int | None = None
    sent: int = 0
    text: str = ""

    def written(self) -> np.ndarray:
        """The message."""
        text = self.text.encode()[: MOST_BYTES - HEAD.itemsize]
        head = np.array([(self.group, -1 if self.simulation is None else self.simulation, self.sent, len(text))], HEAD)
        return np.frombuffer((head.tobytes() + text).ljust(MOST_BYTES, b"\0"), np.uint8).copy()

    @classmethod
    def read(cls, message: np.ndarray) -> Self:
        """What a message says; of text that is no UTF-8 what can be read."""
        head = message[: HEAD.itemsize].view(HEAD)[0]
        length = min(max(int(head["length"]), 0), MOST_BYTES - HEAD.itemsize)
        text = message[HEAD.itemsize :][:length].tobytes().decode(errors="ignore")
        simulation = None if head["simulation"] < 0 else int(head["simulation"])
        return cls(int(head["group"]), simulation, int(head["sent"]), text)
