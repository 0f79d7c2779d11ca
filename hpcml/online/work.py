"""What a group that simulates is given to do."""

from dataclasses import dataclass


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
    """

    simulation: int
    parameters: tuple[float, ...]
    wanted: bytes
