"""Points that ranks share: all that a layer, a loss or a trainer needs to know of them where it does not matter how they are arranged."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Self

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import CheckpointError
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.tiles import Tiles


class Space(ABC):
    """Points that are dealt to ranks: the cells of a grid (`hpcml.fields.Domain`), the nodes of a graph, a list of one's own.

    Every point belongs to one rank, which may have none. A field on the space is a tensor of this rank's points, so a sum over ranks counts
    each point once. Ghosts, copies of points of other ranks, are no part of a field: what reads them makes a larger tensor of it.

    Parameters
    ----------
    shared : Decomposition
        Communicators and device; several spaces may have it in common.
    key : hashable
        Tells this space from others of the same ``shared``, alike on all ranks.
    local_shape, global_shape : tuple of int
        Of this rank's points, and of all points, in the same number of dims. All ranks know the latter.

    Attributes
    ----------
    comm : MPI.Intracomm
        Ranks that share one field.
    world_comm : MPI.Intracomm
        All ranks that train one model: ``num_data`` groups, each of which shares its own fields.
    num_data, data_index : int
        Number of such groups, and this rank's.
    device : torch.device
        Where this rank computes: its fields, and the parameters of layers that are built with the space, lie there.
    index : tuple
        Of this rank's part of a whole field, ``x_global[space.index]``: Ellipsis, then the dims of points and those after them.
    point_index : Tensor
        Number of each of this rank's points among all, from 0; int64, of ``local_shape``.
    channel_dim : int
        1 where fields are (sample, channel, *local_shape), -1 where they are ([sample,] *local_shape, channel).
    tiles : Tiles or None
        What work is cut into so that its bits are the same on any number of ranks, if it is to be.
    tile_sizes : dict of str to tuple of int
        Of this rank's tiles: along the first dim of points of a ``field``, of ``points`` as `points` gives them, and of what else there
        is, such as ``edges``.

    Notes
    -----
    As a context manager, or by `close`, persistent requests and communicators are freed.
    """

    channel_dim: ClassVar[int] = 1
    index: tuple[Any, ...]
    point_index: Tensor
    tiles: Tiles | None = None
    tile_sizes: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def __init__(self, shared: Decomposition, key: Hashable, local_shape: tuple[int, ...], global_shape: tuple[int, ...]) -> None:
        self._shared, self._key = shared, key
        self.num_data, self.data_index, self.device = shared.num_data, shared.data_index, shared.device
        self.local_shape, self.global_shape = local_shape, global_shape

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # communicators are not copied; a module's copy lives on the same ranks

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise CheckpointError(
            f"a {type(self).__name__.lower()}, or a model built on one, cannot be pickled: it is bound to the communicators of this run. "
            "Save model.state_dict(), which holds global parameters, and load it into a model built on the space of the run that reads it"
        )

    @abstractmethod
    def serial(self) -> Self:
        """The whole space on this rank alone, its points in the order of their numbers; the same object at every call.

        Communication
        -------------
        Local for a grid; the first time collective where it must be gathered.
        """

    @property
    def comm(self) -> MPI.Intracomm:
        """Ranks that share one field."""
        return self._shared.open().comm

    @property
    def world_comm(self) -> MPI.Intracomm:
        """All ranks that train one model."""
        return self._shared.open().world_comm

    @property
    def num_dims(self) -> int:
        """Dims of points in a field."""
        return len(self.global_shape)

    @property
    def num_points_global(self) -> int:
        """Points of all ranks of a group."""
        return math.prod(self.global_shape)

    @property
    def tile_dim(self) -> int:
        """Dim of a field that tiles cut."""
        return 2 if self.channel_dim == 1 else -1 - self.num_dims

    @property
    def form(self) -> str:
        """Shape of a field, in words."""
        return f"(batch, channel, *{self.local_shape})" if self.channel_dim == 1 else f"([batch,] *{self.local_shape}, channel)"

    def points_in(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the dims of points of a field of some shape."""
        end = len(shape) - (self.channel_dim == -1)
        return tuple(shape[max(end - self.num_dims, 0) : end])

    def field_shape(self, samples: int, channels: int) -> tuple[int, ...]:
        """Shape of this rank's part of a field with a dim of samples."""
        return (samples, channels, *self.local_shape) if self.channel_dim == 1 else (samples, *self.local_shape, channels)

    def whole_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the whole of a field of which this rank's part has some shape."""
        end = len(shape) - (self.channel_dim == -1)
        return (*shape[: end - self.num_dims], *self.global_shape, *shape[end:])

    def channels_first(self, field: Tensor) -> Tensor:
        """View of a field as (sample, channel, *local_shape), one sample where it has no dim of samples; see `as_field`."""
        if self.channel_dim == 1:
            return field
        first = field.movedim(-1, -1 - self.num_dims)
        return first if field.dim() == self.num_dims + 2 else first[None]

    def as_field(self, first: Tensor, like: Tensor) -> Tensor:
        """Take back what `channels_first` did to ``like``."""
        if self.channel_dim == 1:
            return first
        last = first.movedim(1, -1)
        return last if like.dim() == self.num_dims + 2 else last[0]

    def points(self, field: Tensor) -> Tensor:
        """View of a field as (sample, point, channel), one sample where it has no dim of samples; see `as_field_of`."""
        if self.channel_dim == 1:
            return field.flatten(2).transpose(1, 2)
        flat = field.flatten(-1 - self.num_dims, -2)
        return flat if flat.dim() == 3 else flat[None]

    def as_field_of(self, points: Tensor, like: Tensor) -> Tensor:
        """Field, with or without a dim of samples as ``like``, that values (sample, point, channel) are: a view of them."""
        if self.channel_dim == 1:
            return points.transpose(1, 2).unflatten(2, self.local_shape)
        field = points if self.num_dims == 1 else points.unflatten(1, self.local_shape)
        return field if like.dim() == self.num_dims + 2 else field[0]

    def with_given(self, output: Tensor, x: Tensor) -> Tensor:
        """What a model gave, and after it the channels that only its input ``x`` has: the input of the next step."""
        channels = output.shape[self.channel_dim]
        given = x.shape[self.channel_dim] - channels
        return torch.cat([output, x.narrow(self.channel_dim, channels, given)], self.channel_dim) if given > 0 else output

    def global_index(self, leading: Sequence[int] = ()) -> Tensor:
        """Number of every entry of (*leading, *local_shape), as if the whole batch lay in C order on one rank.

        The first leading dim is the batch: group g of n holds samples g, counted after those of the groups before it, which have as many.
        Random numbers keyed by it do not depend on the number of ranks.

        Returns
        -------
        Tensor
            int64, (*leading, *local_shape).
        """
        if not leading:
            return self.point_index
        size = math.prod(leading)
        first = torch.arange(self.data_index * size, (self.data_index + 1) * size, device=self.device)
        return first.view(*leading, *(1,) * self.num_dims) * self.num_points_global + self.point_index

    def once(self, key: Hashable, make: Callable[[int], Any]) -> Any:
        """Anything with a ``close`` that communicates for this space: made, of a number, at the first call, and closed with the space."""
        return self._shared.open().once((key, self._key), make)

    def release(self, key: Hashable) -> None:
        """Close what `once` has made for a key."""
        self._shared.release((key, self._key))

    def number(self, kind: str) -> str:
        """Name for the next layer of a kind on these ranks, such as ``Conv2d 3``: the same on all that build the same layers."""
        return self._shared.number(kind)

    def visit(self, samples: Sequence[int]) -> None:
        """Hear which samples are computed next, by numbers that are theirs in every epoch."""
        return None

    def bar(self, why: str) -> None:
        """Refuse the communicators of this decomposition, and say why, until called with an empty text."""
        self._shared.barred = why

    def close(self) -> None:
        """Free requests and communicators of this decomposition, all of its spaces included."""
        self._shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
