"""What a simulation sends to a trainer: one message for each of its states and each trainer that has cells of it.

    bytes 0 to 63    simulation int64, step int64, kind int32, finite int32, busy float64, stalled float64, spare 24 bytes
    then             the parameters of the simulation, float64 each
    then             the cells that both ranks share, box after box, each (channel, *cells) in C order, in training.dtype

All numbers are in the order of bytes of the machine. ``kind`` is 0 for a state and 1 for the end: nothing comes after it. ``finite`` says
whether all cells of the state are finite, on all ranks that share the simulation. ``busy`` and ``stalled`` are the seconds that the
sender has spent in its solver and in waiting for trainers, since it began.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcml.parallel.transfers import Box

STATE, END = 0, 1
HEADER = np.dtype(
    [
        ("simulation", "=i8"),
        ("step", "=i8"),
        ("kind", "=i4"),
        ("finite", "=i4"),
        ("busy", "=f8"),
        ("stalled", "=f8"),
        ("spare", "V24"),
    ]
)
assert HEADER.itemsize == 64


class Message:
    """A buffer in which a message lies, and views of its parts.

    Parameters
    ----------
    boxes : sequence of Box
        What is shared, in the order of both sides.
    channels : int
        Of a state.
    parameters : int
        Of a simulation.
    dtype : torch.dtype
        Of the cells.

    Attributes
    ----------
    memory : numpy.ndarray, uint8
        All bytes, for MPI.
    header : numpy.ndarray, ()
        Of dtype `HEADER`.
    parameters : numpy.ndarray, float64
        Of the simulation.
    cells : list of Tensor
        Each (channel, *cells of a box).

    Communication
    -------------
    Local.
    """

    def __init__(self, boxes: Sequence[Box], channels: int, parameters: int, dtype: torch.dtype) -> None:
        start = HEADER.itemsize + 8 * parameters
        counts = [channels * math.prod(box.shape) for box in boxes]
        self.memory = np.zeros(start + dtype.itemsize * sum(counts), np.uint8)
        self.header = self.memory[: HEADER.itemsize].view(HEADER).reshape(())
        self.parameters = self.memory[HEADER.itemsize : start].view(np.float64)
        flat = torch.from_numpy(self.memory[start:]).view(dtype)
        self.cells: list[Tensor] = [part.view(channels, *b.shape) for part, b in zip(flat.split(counts), boxes, strict=True)]
