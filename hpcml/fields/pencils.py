"""Fourier transforms of arrays that many ranks share: whole lines are transformed where they lie, then the array is transposed.

(N0/p, N1, N2)  --dims 2, 1-->  (N0/p, K1, K2)  --transpose-->  (N0, K1/p, K2)  --dim 0-->  (K0, K1/p, K2)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.fields.columns import column_functions, transform_columns, transform_slabs, transformable
from hpcml.fields.recycled import recycled
from hpcml.fields.transpose import Passage, Transpose
from hpcml.parallel.layout import Layout
from hpcml.parallel.linear import pair, uncompiled
from hpcml.topology.block import block_range

CHUNK_BYTES = 2**19
"""Cells that are transformed and packed at a time: they stay in a core's own cache in between, and take no new memory of the system."""

ADJOINT_NORM = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
"""Scale of the adjoint transform; each is named after the direction that carries 1/N."""

_SCALED = {"backward": (0.0, 1.0), "forward": (1.0, 0.0), "ortho": (0.5, 0.5)}  # power of 1/N, there and back


class Pencils:
    """The discrete Fourier transform along some dims of a distributed array, and its inverse, with any number of modes kept.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    shape : tuple of int
        Global cells.
    process_dims : tuple of int
        Process grid of the array.
    dims : tuple of int
        Dims to transform, rising.
    kept : tuple of int
        Size of every dim of the spectrum. Of K modes of a dim the first ceil(K/2) are 0, 1, ... and the others ..., -2, -1; of the last dim
        of a real array they are 0 to K - 1.
    real : bool
        Whether the array is real; ``dims`` then holds the last dim.
    tag : int
        Of the messages; the next one is used too.
    home : bool
        Bring the spectrum back to ``process_dims``.

    Attributes
    ----------
    process_dims_out : tuple of int
        Process grid of the spectrum.
    layout, layout_out : Layout
        Who holds what of the array and of its spectrum.

    Communication
    -------------
    Construction: local. Calls: one transpose for every dim that is split, in which a rank sends its block, as far as it is transformed and
    truncated by then, but for the part that it keeps. No line is ever cut, so there is no sum that depends on the number of ranks.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        shape: Sequence[int],
        process_dims: Sequence[int],
        dims: Sequence[int],
        kept: Sequence[int],
        real: bool,
        tag: int,
        home: bool = False,
    ) -> None:
        self.comm, self.shape, self.kept, self.real = comm, tuple(shape), tuple(kept), real
        path = _path(tuple(process_dims), dims, home)
        self.layout = layout = blocks(shape, process_dims)
        self.stages: list[_Stage] = []
        self.there: list[Transpose | None] = []
        self.back: list[Transpose | None] = []
        for stage_dims, grid in path:
            arrived = blocks(layout.shape, grid)
            if self.stages:
                self.there.append(Transpose(comm, layout, arrived, tag))
                self.back.insert(0, Transpose(comm, arrived, layout, tag + 1))
            layout = blocks([k if d in stage_dims else n for d, (n, k) in enumerate(zip(arrived.shape, kept, strict=True))], grid)
            self.stages.append((stage_dims, arrived.local_shape(comm.rank), layout.local_shape(comm.rank)))
        self.there.append(None)
        self.back.append(None)
        self.layout_out, self.process_dims_out = layout, path[-1][1]
        self._in_columns = {dims: transformable(dims, self.shape, self.kept, self.real) for dims, _, _ in self.stages}
        self._counts: dict[tuple[object, ...], Tensor] = {}

    @uncompiled
    def modes(self, x: Tensor, norm: str) -> Tensor:
        """Spectrum (rows, *local) of an array (rows, *local), differentiably; ``norm`` as in `torch.fft`."""
        return _modes((self, norm), x)[0]

    @uncompiled
    def cells(self, s: Tensor, norm: str) -> Tensor:
        """Array (rows, *local) of a spectrum (rows, *local), differentiably: the inverse of `modes` if all modes are kept."""
        return _cells((self, norm), s)[0]

    def forward(self, x: Tensor, norm: str) -> Tensor:
        """`modes` without a gradient."""
        if not len(x):  # an empty batch on every rank alike
            return x.new_empty((0, *self.layout_out.local_shape(self.comm.rank)), dtype=x.dtype.to_complex())
        here: Tensor | Passage = x
        for (dims, _, shape_out), move in zip(self.stages, self.there, strict=True):
            here = self._stage(here, dims, shape_out, norm, move, back=False)
        return _whole(here)

    def inverse(self, s: Tensor, norm: str) -> Tensor:
        """`cells` without a gradient."""
        if not len(s):
            return s.new_empty((0, *self.layout.local_shape(self.comm.rank)), dtype=s.dtype.to_real() if self.real else s.dtype)
        here: Tensor | Passage = s
        for (dims, shape_in, _), move in zip(reversed(self.stages), self.back, strict=True):
            here = self._stage(here, dims, shape_in, norm, move, back=True)
        return _whole(here)

    def counted(self, s: Tensor, power: int) -> Tensor:
        """Each mode times how often it counts in a real array (power 1) or over it (-1): twice if its conjugate is not stored."""
        if not self.real:
            return s
        key = power, s.dtype, s.device
        if key not in self._counts:
            low, high = self.layout_out.box(self.comm.rank)[-1]
            modes = torch.arange(low, high, device=s.device)
            twice = (modes > 0) & (2 * modes < self.shape[-1])
            self._counts[key] = torch.where(twice, 2.0**power, 1.0).to(s.dtype.to_real())
        return s * self._counts[key]

    def close(self) -> None:
        """Free all persistent requests."""
        for move in (*self.there, *self.back):
            if move is not None:
                move.close()

    def _stage(
        self, here: Tensor | Passage, dims: tuple[int, ...], shape_out: tuple[int, ...], norm: str, move: Transpose | None, back: bool
    ) -> Tensor | Passage:
        """Transform along dims what is here, or arrives; into the messages of the transpose that follows, or a result."""
        like = here.moved if isinstance(here, Passage) else here
        dtype = like.dtype.to_complex() if dims and not back else like.dtype
        dtype = dtype.to_real() if back and self.real and len(self.shape) - 1 in dims else dtype
        if like.device.type != "cpu" or not self._in_columns[dims] or dtype.to_complex() not in column_functions():
            op = partial(self._to_cells if back else self._to_modes, dims=dims, norm=norm)
            return _run(_whole(here), dims, shape_out, dtype, op, move)
        passage = None if move is None else move.passage(len(like), dtype, like.device)
        out = recycled((len(like), *shape_out), dtype, like.device) if passage is None else like
        target = [out] if passage is None else passage.leaving
        source = here.arrive() if isinstance(here, Passage) else [here.resolve_conj().resolve_neg().contiguous()]
        scale = math.prod(self.shape[d] for d in dims) ** -_SCALED[norm][back]
        if dims == (0,):
            transform_columns(source, target, back, scale)
        elif back:
            transform_slabs(out, source, back, scale)
        else:
            transform_slabs(source[0], target, back, scale)
        return passage or out

    def _to_modes(self, t: Tensor, dims: Sequence[int], norm: str) -> Tensor:
        last = len(self.shape) - 1
        halved = self.real and last in dims
        if halved and self.kept[last] == self.shape[last] // 2 + 1 and all(self.kept[d] == self.shape[d] for d in dims if d != last):
            return torch.fft.rfftn(t, dim=[d + 1 for d in dims], norm=norm)
        for d in reversed(dims):
            t = torch.fft.rfft(t, dim=d + 1, norm=norm) if halved and d == last else torch.fft.fft(t, dim=d + 1, norm=norm)
            t = t.narrow(d + 1, 0, self.kept[d]) if halved and d == last else _kept(t, d + 1, self.kept[d])
        return t

    def _to_cells(self, t: Tensor, dims: Sequence[int], norm: str) -> Tensor:
        for d in dims:
            if self.real and d == len(self.shape) - 1:
                t = torch.fft.irfft(t, self.shape[d], dim=d + 1, norm=norm)
            else:
                t = _straight(torch.fft.ifft(_padded(t, d + 1, self.shape[d]), dim=d + 1, norm=norm), d + 1)
        return t


_Stage = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # dims transformed, local shape of the cells, local shape of the modes
_How = tuple[Pencils, str]


def _rows(operator: Callable[[Tensor, str], Tensor], t: Tensor, norm: str, num_dims: int) -> tuple[Tensor]:
    """Whatever leads the array is one run of rows."""
    y = operator(t.flatten(0, -num_dims - 1), norm)
    return (y.view(*t.shape[:-num_dims], *y.shape[1:]) if t.dim() > num_dims + 1 else y,)


def _forth(how: _How, x: Tensor) -> tuple[Tensor]:
    return _rows(how[0].forward, x, how[1], len(how[0].shape))


def _back(how: _How, s: Tensor) -> tuple[Tensor]:
    return _rows(how[0].inverse, s, how[1], len(how[0].shape))


_modes, _ = pair(_forth, lambda how, s: _back((how[0], ADJOINT_NORM[how[1]]), how[0].counted(s, -1)))
_cells, _ = pair(_back, lambda how, x: (how[0].counted(_forth((how[0], ADJOINT_NORM[how[1]]), x)[0], 1),))


def blocks(shape: Sequence[int], process_dims: Sequence[int]) -> Layout:
    """Blocks by the one ownership rule; a rank may own none."""
    dealt = (tuple(block_range(n, p, c) for c in range(p)) for n, p in zip(shape, process_dims, strict=True))
    return Layout(tuple(shape), tuple(tuple((r.start, r.stop) for r in dim) for dim in dealt))


def _path(process_dims: tuple[int, ...], dims: Sequence[int], home: bool) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Dims to transform, last first, while they are whole, and the process grid of that time.

    A dim that is split is made whole by splitting the next one further, or the one before for the last: neighbors in the process grid's
    order, so that only ranks of one line of it talk to each other.
    """
    grid, pending, path = list(process_dims), list(dims), []
    while True:
        stage: list[int] = []
        while pending and grid[pending[-1]] == 1:
            stage.insert(0, pending.pop())
        path.append((tuple(stage), tuple(grid)))
        if not pending:
            break
        split = pending[-1]
        taker = split + 1 if split + 1 < len(grid) else split - 1
        grid[taker] *= grid[split]
        grid[split] = 1
    return path if not home or path[-1][1] == process_dims else [*path, ((), process_dims)]


def _whole(here: Tensor | Passage) -> Tensor:
    return here.finish() if isinstance(here, Passage) else here


def _run(
    t: Tensor, dims: Sequence[int], shape_out: tuple[int, ...], dtype: torch.dtype, op: Callable[[Tensor], Tensor], move: Transpose | None
) -> Tensor | Passage:
    """Transform chunk by chunk, into the messages of the transpose that follows or into a result that lies as torch would lay it."""
    free = next((d for d in range(len(shape_out)) if d not in dims), None)
    size_out = torch.Size(shape_out).numel() * len(t) * dtype.itemsize
    if move is None and t.numel() and (free is None or size_out <= CHUNK_BYTES or t.device.type != "cpu"):
        return op(t) if dims else t.clone()
    passage = None if move is None else move.passage(len(t), dtype, t.device)
    out = t
    if passage is None:
        innermost = dims[0] if dims and dtype.is_complex else len(shape_out) - 1
        others = [n for d, n in enumerate(shape_out) if d != innermost]
        out = recycled((len(t), *others, shape_out[innermost]), dtype, t.device).movedim(-1, innermost + 1)
    for row, rows, start, size in _chunks(t, free):
        cells = t[row : row + rows]
        cells = op(cells if free is None else cells.narrow(free + 1, start, size))
        if passage is not None:
            passage.put(cells, row, free or 0, start)
        else:
            out[row : row + rows].narrow((free or 0) + 1, start, size).copy_(cells)
    return passage or out


def _chunks(t: Tensor, free: int | None) -> Iterator[tuple[int, int, int, int]]:
    """First row, rows, first index along the free dim and number of indices of each chunk."""
    if not t.numel():
        return
    size = 1 if free is None else t.shape[free + 1]
    most = CHUNK_BYTES if t.device.type == "cpu" else 256 * CHUNK_BYTES  # a GPU wants much to do at a time
    rows_at_once = max(1, most // t[0].nbytes)
    step = size if free is None else -(-size // -(-t[0].nbytes // most))  # few, and alike: a chunk of a line costs as many calls
    for row in range(0, len(t), rows_at_once):
        for start in range(0, size, step):
            yield row, min(rows_at_once, len(t) - row), start, min(step, size - start)


def _kept(t: Tensor, dim: int, count: int) -> Tensor:
    """Lowest frequencies along a dim."""
    n = t.shape[dim]
    if count == n:
        return t
    return torch.cat([t.narrow(dim, 0, count - count // 2), t.narrow(dim, n - count // 2, count // 2)], dim)


def _padded(t: Tensor, dim: int, n: int) -> Tensor:
    """Adjoint of `_kept`: zeros for the highest frequencies."""
    count = t.shape[dim]
    if count == n:
        return t
    zeros = t.new_zeros((*t.shape[:dim], n - count, *t.shape[dim + 1 :]))
    return torch.cat([t.narrow(dim, 0, count - count // 2), zeros, t.narrow(dim, count - count // 2, count // 2)], dim)


def _straight(t: Tensor, dim: int) -> Tensor:
    """The same values in C order: torch leaves a transformed dim innermost, and copying boxes out of that is slow.

    As a matrix it is transposed block by block, four times as fast.
    """
    lines = t.movedim(dim, -1)
    if len(t) > 1 or dim > 1 or not lines.is_contiguous():
        return t
    return lines.reshape(-1, lines.shape[-1]).t().contiguous().view(t.shape)
