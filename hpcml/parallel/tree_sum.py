"""Sums whose order does not depend on how many ranks there are.

Terms have numbers, and `block_range` deals them to ranks. They are added up two by two, the sums again two by two: a binary tree, in which
a term or a sum without a partner moves up as it is.

    s = ((x_0 + x_1) + (x_2 + x_3)) + ((x_4 + x_5) + x_6)

A rank adds up the largest whole subtrees of its terms. Their sums go to ranks that finish a piece of the result each, and give it to all.
"""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.host_copy import Wire
from hpcml.mpi.meeting import meet
from hpcml.mpi.reductions import facts
from hpcml.parallel.settled import settled
from hpcml.topology.block import BlockRange, block_range

Node = tuple[int, list[Tensor]]
"""Level of a subtree, and the sums of its terms."""


def tree_sum(terms: Sequence[Sequence[Tensor]], total: int, comm: MPI.Intracomm) -> list[Tensor]:
    """Sum terms over ranks, as if all of them lay on one.

    Parameters
    ----------
    terms : sequence of sequence of Tensor
        This rank's terms, ``block_range(total, comm.size, comm.rank)``, each of as many tensors; those of a place have one shape.
    total : int
        Terms of all ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    list of Tensor
        The sums; the same bits on every rank, for any number of ranks, with any MPI.

    Communication
    -------------
    Collective: an all to all and an all-gather for each precision. Of n bytes of sums a rank sends 2 n, as a good all-reduce does, where
    its terms are one subtree, as on 2^k ranks; else up to 2 log2(total) subtrees. Local on one rank.

    Examples
    --------
    >>> tree_sum([[torch.tensor(x)] for x in (1e16, 1.0, -1e16, 1.0)], 4, MPI.COMM_SELF)
    [tensor(0.)]
    """
    own = block_range(total, comm.size, comm.rank)
    partial = _added([(0, list(term)) for term in terms], own.start)
    if comm.size == 1:
        return [settled(value) for value in _finished(partial)]
    sums: dict[int, Tensor] = {}
    first = terms[0]
    for dtype in dict.fromkeys(value.dtype for value in first):
        chosen = [k for k, value in enumerate(first) if value.dtype == dtype]
        nodes = torch.stack([torch.cat([values[k].reshape(-1) for k in chosen]) for _, values in partial])
        flat = _over_ranks(nodes, total, comm).split([first[k].numel() for k in chosen])
        sums.update((k, settled(part.view(first[k].shape))) for k, part in zip(chosen, flat, strict=True))
    return [sums[k] for k in range(len(first))]


def _over_ranks(nodes: Tensor, total: int, comm: MPI.Intracomm) -> Tensor:
    """Sum of the subtrees (subtree, number) of all ranks; each rank finishes a piece of the numbers."""
    length, size = nodes.shape[1], nodes.element_size()
    pieces = [block_range(length, comm.size, rank) for rank in range(comm.size)]
    levels = [_levels(block_range(total, comm.size, rank)) for rank in range(comm.size)]
    mine = pieces[comm.rank].size
    send = torch.cat([nodes[:, piece.start : piece.stop].reshape(-1) for piece in pieces])
    came, result = nodes.new_empty(sum(map(len, levels)), mine), nodes.new_empty(length)
    meet(comm, "sum over tiles", *facts(result))
    wire, out = Wire(came), Wire(send)
    out_counts, in_counts = [len(nodes) * piece.size * size for piece in pieces], [len(of) * mine * size for of in levels]
    MPI.Intracomm.Alltoallv(comm, [out.spec[0], out_counts, MPI.BYTE], [wire.spec[0], in_counts, MPI.BYTE])  # all ranks are here
    wire.land()
    subtrees = [(level, [value]) for level, value in zip((level for of in levels for level in of), came, strict=True)]
    wire = Wire(result)
    counts = [piece.size * size for piece in pieces]
    MPI.Intracomm.Allgatherv(comm, Wire(_finished(_added(subtrees, 0))[0].contiguous()).spec, [wire.spec[0], counts, MPI.BYTE])
    wire.land()
    return result


def _levels(terms: BlockRange) -> list[int]:
    """Of the largest whole subtrees of a range, in order."""
    return [level for level, _ in _added([(0, [])] * terms.size, terms.start)]


def _added(nodes: Sequence[Node], at: int) -> list[Node]:
    """Subtrees that follow one another, put together to the largest whole ones; ``at`` is the first term of the first."""
    whole: list[Node] = []
    for level, values in nodes:
        at += 1 << level
        while whole and whole[-1][0] == level and at % (2 << level) == 0:
            before = whole.pop()[1]
            values = list(torch._foreach_add(before, values)) if values else []
            level += 1
        whole.append((level, values))
    return whole


def _finished(nodes: Sequence[Node]) -> list[Tensor]:
    """Sum of subtrees that follow one another from the first term to the last."""
    *nodes, (_, values) = nodes
    for _, before in reversed(nodes):  # what is left has no partner of its own size
        values = list(torch._foreach_add(before, values))
    return values
