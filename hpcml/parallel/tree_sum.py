"""Sums whose order does not depend on how many ranks there are.

Terms have numbers, and `block_range` deals them to ranks. They are added up two by two, the sums again two by two: a binary tree, in which
a term or a sum without a partner moves up as it is.

    s = ((x_0 + x_1) + (x_2 + x_3)) + ((x_4 + x_5) + x_6)

A rank adds up the largest whole subtrees of its terms. Their sums go to ranks that finish a piece of the result each, and give it to all.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.host_copy import Wire
from hpcml.mpi.meeting import meet
from hpcml.mpi.reductions import facts
from hpcml.topology.block import BlockRange, block_range


def tree_sum(values: Sequence[Tensor], total: int, comm: MPI.Intracomm) -> list[Tensor]:
    """Sum over the first dim and over ranks, as if all terms lay on one.

    Parameters
    ----------
    values : sequence of Tensor
        (term, ...): this rank's terms, ``block_range(total, comm.size, comm.rank)``.
    total : int
        Terms of all ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    list of Tensor
        The sum of each value, without the first dim; the same bits on every rank, for any number of ranks, with any MPI.

    Communication
    -------------
    Collective: an all to all and an all-gather for each precision. Of n bytes of sums a rank sends 2 n, as a good all-reduce does, where
    its terms are one subtree, as on 2^k ranks; else up to 2 log2(total) subtrees. Local on one rank.

    Examples
    --------
    >>> tree_sum([torch.tensor([1e16, 1.0, -1e16, 1.0])], 4, MPI.COMM_SELF)
    [tensor(0.)]
    """
    own = block_range(total, comm.size, comm.rank)
    partial = [list(_subtrees(value, own)) for value in values]
    if comm.size == 1:
        return [_finished(nodes) for nodes in partial]
    sums: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(value.dtype for value in values):
        chosen = [k for k, value in enumerate(values) if value.dtype == dtype]
        nodes = [torch.cat([node.reshape(-1) for _, node in of]) for of in zip(*(partial[k] for k in chosen), strict=True)]
        lengths = [values[k][0].numel() for k in chosen]
        flat = _over_ranks(torch.stack(nodes), total, comm).split(lengths)
        sums.update((k, part.view(values[k].shape[1:])) for k, part in zip(chosen, flat, strict=True))
    return [sums[k] for k in range(len(values))]


def _over_ranks(nodes: Tensor, total: int, comm: MPI.Intracomm) -> Tensor:
    """Sum of the subtrees (subtree, number) of all ranks; each rank finishes a piece of the numbers."""
    length = nodes.shape[1]
    pieces = [block_range(length, comm.size, rank) for rank in range(comm.size)]
    levels = [[level for level, _ in _aligned(block_range(total, comm.size, rank))] for rank in range(comm.size)]
    mine = pieces[comm.rank].size
    send = torch.cat([nodes[:, piece.start : piece.stop].reshape(-1) for piece in pieces])
    came = nodes.new_empty(sum(map(len, levels)), mine)
    size = nodes.element_size()
    meet(comm, "sum over tiles", *facts(nodes[0]))
    wire, out = Wire(came), Wire(send)
    out_counts, in_counts = [len(nodes) * piece.size * size for piece in pieces], [len(of) * mine * size for of in levels]
    MPI.Intracomm.Alltoallv(comm, [out.spec[0], out_counts, MPI.BYTE], [wire.spec[0], in_counts, MPI.BYTE])  # all ranks are here
    wire.land()
    piece = _finished(zip((level for of in levels for level in of), came, strict=True))
    result = nodes.new_empty(length)
    wire = Wire(result)
    counts = [of.size * size for of in pieces]
    MPI.Intracomm.Allgatherv(comm, Wire(piece.contiguous()).spec, [wire.spec[0], counts, MPI.BYTE])
    wire.land()
    return result


def _aligned(terms: BlockRange) -> Iterator[tuple[int, int]]:
    """Level and first term of the largest whole subtrees of a range, in order."""
    at, stop = terms.start, terms.stop
    while at < stop:
        level = (stop - at).bit_length() - 1
        if at:
            level = min(level, (at & -at).bit_length() - 1)
        yield level, at
        at += 1 << level


def _subtrees(terms: Tensor, own: BlockRange) -> Iterator[tuple[int, Tensor]]:
    """Level and sum of each of them."""
    for level, first in _aligned(own):
        nodes = terms[first - own.start : first - own.start + (1 << level)]
        while len(nodes) > 1:
            nodes = nodes[0::2] + nodes[1::2]
        yield level, nodes[0]


def _finished(nodes: Iterable[tuple[int, Tensor]]) -> Tensor:
    """Sum of subtrees that follow one another from the first term to the last."""
    open_ones: list[tuple[int, Tensor]] = []
    for level, value in nodes:
        while open_ones and open_ones[-1][0] == level:
            level, value = level + 1, open_ones.pop()[1] + value
        open_ones.append((level, value))
    value = open_ones.pop()[1]
    while open_ones:  # what is left has no partner of its own size
        value = open_ones.pop()[1] + value
    return value
