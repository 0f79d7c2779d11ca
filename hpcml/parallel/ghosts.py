"""The ghost cells of a block as one tensor, which can be kept, extrapolated and compared before it is put around a block."""

import itertools
from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.quantise import dequantise, quantise
from hpcml.parallel.exchange import Buffers, Exchange
from hpcml.parallel.layout import Layout
from hpcml.parallel.transfers import Box, transfers

_ALIGNED = 64  # bytes: whatever the dtype, a buffer's views start where they may


class Ghosts:
    """Fetches the cells of this rank's window that other ranks own, and puts them there.

    Parameters
    ----------
    comm : MPI.Intracomm
        Holds the ranks of ``source``.
    source : Layout
        Disjoint boxes that cover the array.
    widths : sequence of (int, int)
        Ghost cells below and above along each dim.
    boundary : sequence of str
        Rule for each dim, see `hpcml.parallel.segments.BOUNDARIES`; the value outside for ``zero`` and ``constant`` is 0.
    block : Tensor
        (batch, channel, *local_shape), like all blocks to come.
    tag : int
        Of the messages.
    bits : int
        8: values travel as 8-bit numbers with one scale for each sample, channel and neighbor. Otherwise they travel as they are.
    strip : (int, int)
        Which of how many strips of the cells to and from each neighbor travel; by default the only one, all of them.

    Attributes
    ----------
    fetched : Tensor
        Numbers, among all ghost cells, of those that `finish` gives.
    rounding : Tensor or None
        Largest difference in each channel, (channel,), between what this rank sent last and what arrives of it; None if nothing is rounded.

    Raises
    ------
    ShapeError
        For a block of another shape or dtype than it was made for.

    Communication
    -------------
    `start` and `finish`: neighbors, one message each, non-blocking in between; deterministic. All else is local.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        source: Layout,
        widths: Sequence[tuple[int, int]],
        boundary: Sequence[str],
        block: Tensor,
        tag: int,
        bits: int = 32,
        strip: tuple[int, int] = (0, 1),
    ) -> None:
        target = source.widened(widths)
        self._incoming, self._outgoing = transfers(source, target, boundary, comm.rank)
        self._own = self._incoming.pop(comm.rank, [])
        self._outgoing.pop(comm.rank, None)
        self._window_shape = target.local_shape(comm.rank)
        boxes = [*self._own, *(box for each in self._incoming.values() for box in each)]
        self._covered = sum(_size([s.stop - s.start for s in box.target[1:]]) for box in boxes) == _size(self._window_shape)
        self._expected = tuple(block.shape), block.dtype
        self._lead = tuple(block.shape[:2])
        self._rows = self._lead[0] * self._lead[1]
        self._bits, self._rank = bits, comm.rank
        self.rounding: Tensor | None = None
        self._given, self._taken = ({p: _part(_count(boxes), *strip) for p, boxes in d.items()} for d in (self._outgoing, self._incoming))
        send, recv = ({p: self._num_bytes(len(cells), block.dtype) for p, cells in d.items()} for d in (self._given, self._taken))
        starts = itertools.accumulate((_count(boxes) for boxes in self._incoming.values()), initial=0)
        numbers = [start + i for start, cells in zip(starts, self._taken.values(), strict=False) for i in cells]
        self.fetched = torch.tensor(numbers, dtype=torch.int64, device=block.device)
        what = f"ghosts of {block.dtype} {self._lead}, strip {strip}"
        self._exchange = Exchange(comm, send, recv, torch.uint8, block.device, tag, what=what)
        self._buffers = Buffers()

    def start(self, block: Tensor) -> None:
        """Send what others need of the block."""
        if (tuple(block.shape), block.dtype) != self._expected:
            raise ShapeError(f"rank {self._rank} expected a block of {self._expected}, got {tuple(block.shape)}, {block.dtype}")
        self._buffers = self._exchange.halves[self._exchange.half]
        if self._bits == 8:
            self.rounding = block.new_zeros(self._lead[1])
        for peer, boxes in self._outgoing.items():
            part = self._given[peer]
            if not part:
                continue
            cells = torch.cat([block[box.source].reshape(*self._lead, -1) for box in boxes], -1)[..., part.start : part.stop]
            values, scales = self._parts(self._buffers.send[peer], cells.shape[-1], block.dtype)
            if scales is None:
                values.copy_(cells)
                continue
            assert self.rounding is not None
            q, scale = quantise(cells.contiguous(), bucket=cells.shape[-1])
            values.copy_(q)
            scales.copy_(scale)
            lost = (cells - dequantise(q, scale, cells.shape[-1])).abs().amax((0, 2))
            self.rounding = torch.maximum(self.rounding, lost)
        self._exchange.start()

    def finish(self) -> Tensor:
        """Give what has arrived: (batch, channel, number of ghost cells in the strip)."""
        self._exchange.wait()
        dtype = self._expected[1]
        arrived = []
        for peer, part in self._taken.items():
            if part:
                values, scales = self._parts(self._buffers.recv[peer], len(part), dtype)
                arrived.append(values.clone() if scales is None else dequantise(values.contiguous(), scales, len(part)))
        return torch.cat(arrived, -1) if arrived else torch.empty((*self._lead, 0), dtype=dtype, device=self.fetched.device)

    def cancel(self) -> None:
        """Come to rest because an exception unwinds."""
        self._exchange.cancel()

    def around(self, block: Tensor, cells: Tensor) -> Tensor:
        """Window of a block, of any number of samples and channels: itself, what it supplies to itself, and the ghost cells."""
        lead = block.shape[:2]
        window = (block.new_empty if self._covered else block.new_zeros)((*lead, *self._window_shape))
        for box in self._own:
            box.put(window, block[box.source])
        start = 0
        for boxes in self._incoming.values():
            for box in boxes:
                stop = start + _size(box.shape)
                box.put(window, cells[..., start:stop].reshape(*lead, *box.shape))
                start = stop
        return window

    def close(self) -> None:
        """Free the requests."""
        self._exchange.close()

    def _num_bytes(self, num_cells: int, dtype: torch.dtype) -> int:
        if self._bits != 8:
            return self._rows * num_cells * dtype.itemsize
        return _aligned(self._rows * num_cells) + self._rows * dtype.itemsize

    def _parts(self, buffer: Tensor, num_cells: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Views of a message: its values, (batch, channel, cells), and their scales if they are rounded."""
        shape = (*self._lead, num_cells)
        if self._bits != 8:
            return buffer.view(dtype).view(shape), None
        end = self._rows * num_cells
        return buffer[:end].view(torch.int8).view(shape), buffer[_aligned(end) :].view(dtype)


def _part(num_cells: int, number: int, strips: int) -> range:
    """Cells of one of several strips of about equal length."""
    return range(number * num_cells // strips, (number + 1) * num_cells // strips)


def _count(boxes: Sequence[Box]) -> int:
    return sum(_size(box.shape) for box in boxes)


def _size(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNED) * _ALIGNED
