"""What can go wrong, one class per kind of remedy.

A message names what happened, what was expected, what was got, on which rank where ranks can differ, and what to do about it.
"""


class HpcmlError(Exception):
    """Base of every error that hpcml raises on purpose."""


class ConfigError(HpcmlError, ValueError):
    """A case file, a command line or an argument says something that has no meaning: mend the text."""


class TopologyError(HpcmlError, ValueError):
    """The ranks cannot be arranged as asked: change the process grid, the field or the number of ranks."""


class ShapeError(HpcmlError, ValueError):
    """A tensor does not have the shape or dtype that its place asks for."""


class DeviceError(HpcmlError, RuntimeError):
    """A GPU, a compiler or a kernel is not what was asked for."""


class CommunicationError(HpcmlError, RuntimeError):
    """A message did not arrive, or ranks disagree about what they are doing."""


class LostRankError(CommunicationError):
    """A rank that the others wait for has ended or does not come: start again from the last checkpoint, without its node.

    Attributes
    ----------
    silent : tuple of int
        Ranks of all that did not come and said nothing when the roll was called.
    """

    silent: tuple[int, ...] = ()


class CheckpointError(HpcmlError, RuntimeError):
    """A checkpoint, snapshot or dataset cannot be read or written; what was complete before still is."""


class LaunchError(HpcmlError, RuntimeError):
    """The launcher and the MPI library disagree: start the job another way."""


class TrainingError(HpcmlError, RuntimeError):
    """Training cannot go on: the message names the step and the last good checkpoint."""


class SolverError(HpcmlError, RuntimeError):
    """A solver cannot go on: the state is not finite any more, or an iteration does not converge."""
