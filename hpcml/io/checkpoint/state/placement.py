"""How an array of the state lies over the ranks: replicated unless marked as `Blocked` or `Rows`."""

from dataclasses import dataclass
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.box import Box


@dataclass(frozen=True, eq=False, slots=True)
class Blocked:
    """Block, on this rank, of an array that is decomposed over the ranks.

    Parameters
    ----------
    array : torch.Tensor or numpy.ndarray
        The cells this rank holds, ``global[offset : offset + shape]``.
    offset : tuple of int
        Global index of its first cell.
    global_shape : tuple of int
        Shape of the whole array.

    Raises
    ------
    CheckpointError
        Where the block reaches outside the array.

    Communication
    -------------
    Local.

    Notes
    -----
    Several ranks may hold the same block; each then writes a part of it. Blocks that overlap otherwise are refused on restore.
    """

    array: Any
    offset: tuple[int, ...]
    global_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.array.shape)
        inside = len(shape) == len(self.offset) == len(self.global_shape) and all(
            o >= 0 and o + n <= g for o, n, g in zip(self.offset, shape, self.global_shape, strict=True)
        )
        if not inside:
            raise CheckpointError(
                f"a block of shape {shape} at offset {tuple(self.offset)} does not lie in an array of shape {tuple(self.global_shape)}"
            )

    @property
    def box(self) -> Box:
        return Box(tuple(map(int, self.offset)), tuple(map(int, self.array.shape)))


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Items spread over the ranks, any number on each: a replay buffer, the random streams of the ranks, particles.

    On the same number of ranks every rank gets its own rows back. On another number all rows, in the order of the ranks, are dealt as
    evenly as whole rows allow.

    Parameters
    ----------
    array : torch.Tensor or numpy.ndarray
        This rank's rows along dim 0; the other dims are the same on every rank.

    Communication
    -------------
    Local.
    """

    array: Any

    def __post_init__(self) -> None:
        if not tuple(self.array.shape):
            raise CheckpointError("Rows needs an array with at least one dim: its first dim counts the rows")


def content(leaf: Any) -> Any:
    """The array behind a leaf of the state, marked or not."""
    return leaf.array if isinstance(leaf, Blocked | Rows) else leaf
