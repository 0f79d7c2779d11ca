"""Tags of the messages between roles, on the communicator that is theirs alone."""

from enum import IntEnum


class Tag(IntEnum):
    """What a message is about.

    States go from simulations to trainers, see `hpcml.online.message`; the others between a simulation's first rank and the first trainer:
    a simulation asks for work, or says that one has failed; it gets work; and all ranks that simulate are told, once, that no more is
    wanted.
    """

    STATE = 0
    ASK = 1
    WORK = 2
    HALT = 3
