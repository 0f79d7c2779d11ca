"""Whole tensors on rank 0 and their parts on all ranks, moved without the machinery under test."""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.models.verification.comparison import Box
from hpcml.mpi.seeds import normal
from hpcml.parallel.space import Space
from hpcml.topology.block import block_range


def field_box(space: Space, shape: Sequence[int]) -> Box:
    """Where this rank's part lies in a whole field of some shape, the samples dealt to the data groups in order."""
    end = space.index[1:]
    leading = len(shape) - len(end)
    if not leading and space.num_data > 1:
        raise ShapeError(f"a field of {tuple(shape)} without a dim of samples cannot be shared by {space.num_data} data groups")
    first = [samples(space, shape[0])] if leading else []
    middle = [slice(0, n) for n in shape[1:leading]]
    return (*first, *middle, *(slice(0, n) if s == slice(None) else s for s, n in zip(end, shape[leading:], strict=True)))


def samples(space: Space, batch: int) -> slice:
    """Samples of a whole batch that this rank's data group takes.

    Raises
    ------
    ShapeError
        On every rank, if a group would get none.
    """
    if batch < space.num_data:
        raise ShapeError(f"a batch of {batch} cannot be shared by {space.num_data} data groups")
    mine = block_range(batch, space.num_data, space.data_index)
    return slice(mine.start, mine.stop)


def deal(whole: Tensor | None, box: Box | None, comm: MPI.Intracomm) -> Tensor | None:
    """Give every rank its box of rank 0's tensor, or all of it; None where rank 0 has none.

    Communication
    -------------
    Collective over comm.
    """
    boxes = comm.gather(box)
    if boxes is None:
        return comm.scatter(None)
    return comm.scatter([None if whole is None else whole.detach()[... if b is None else b].clone() for b in boxes])


def collect(block: Tensor, space: Space) -> Tensor | None:
    """Put parts together on rank 0, the batches of the data groups one after the other; None on other ranks.

    Communication
    -------------
    Collective over space.world_comm.
    """
    parts = space.world_comm.gather((space.data_index, space.index, block.detach()))
    if parts is None:
        return None
    groups = []
    for group in range(space.num_data):
        mine = [(index, part) for number, index, part in parts if number == group]
        whole = block.new_empty(space.whole_shape(mine[0][1].shape))
        for index, part in mine:
            whole[index] = part
        groups.append(whole)
    return torch.cat(groups)


def random_box(seed: int, stream: str, shape: Sequence[int], box: Box, like: Tensor) -> Tensor:
    """Normal numbers of a box of a whole tensor, keyed by the index in the whole.

    Communication
    -------------
    Local.
    """
    index = torch.zeros((), dtype=torch.int64)
    for n, cells in zip(shape, box, strict=True):
        index = index.unsqueeze(-1) * n + (cells if isinstance(cells, Tensor) else torch.arange(cells.start, cells.stop))
    if not like.is_complex():
        return normal(seed, stream, index, torch.float64).to(like)
    return torch.complex(*(normal(seed, (stream, part), index, torch.float64) for part in ("real", "imaginary"))).to(like)
