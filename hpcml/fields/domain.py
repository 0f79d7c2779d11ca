"""One grid dealt to many ranks: what every distributed operator is built from."""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError, TopologyError
from hpcml.fields.grid import Grid
from hpcml.mpi.call import named_call
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.layout import Layout
from hpcml.parallel.space import Space
from hpcml.parallel.tiles import Tiles
from hpcml.parallel.window import window
from hpcml.parallel.window_plan import WindowPlan
from hpcml.topology.block import BlockRange, block_range
from hpcml.topology.process_grid import ProcessGrid, check_dims


class Domain(Space):
    """A `Grid` whose cells are dealt in blocks to a process grid of ranks; made by `decompose`.

    A field on it is a tensor (batch, channel, *local_shape): this rank's block. Layers are built with a domain and know the domain of their
    output, so every rank can work out every other rank's needs at construction, without communication, and a shape that cannot be dealt is
    refused on every rank alike.

    Attributes
    ----------
    grid : Grid
        The whole grid.
    process_grid : ProcessGrid
        The ranks that share one field.
    comm : MPI.Intracomm
        Those ranks.
    world_comm : MPI.Intracomm
        All ranks that train one model: ``num_data`` groups, each of which shares its own fields.
    num_data, data_index : int
        Number of such groups, and this rank's.
    local_shape, global_shape : tuple of int
        Cells of this rank's block and of the whole grid.
    device : torch.device
        Where this rank computes: its fields, and the parameters of layers that are built with the domain, lie there.
    block : tuple of BlockRange
        Global indices that this rank owns.
    index : tuple
        Of this rank's block: ``x_global[domain.index]``.

    Notes
    -----
    As a context manager, or by `close`, persistent requests and communicators are freed.
    """

    def __init__(self, grid: Grid, process_grid: ProcessGrid, shared: Decomposition) -> None:
        self.grid, self.process_grid = grid, process_grid
        self.layout = Layout.blocks(grid.shape, process_grid.dims)
        super().__init__(shared, (grid, process_grid.dims), self.layout.local_shape(process_grid.rank), grid.shape)
        self.index = (..., *(slice(r.start, r.stop) for r in self.block))
        if shared.same_bits:
            if max(process_grid.dims[1:], default=1) > 1:
                raise TopologyError(f"same_bits: ranks share the first dim alone, got a process grid of {process_grid.dims}")
            self.tiles, rows = Tiles(shared.comm, grid.shape[0]), self.local_shape[0]
            self.tile_sizes = {"field": (1,) * rows, "points": (math.prod(self.local_shape[1:]),) * rows}

    def __repr__(self) -> str:
        place = self.process_grid
        return f"Domain(shape={self.global_shape}, dims={place.dims}, rank={place.rank}, local_shape={self.local_shape})"

    @cached_property
    def block(self) -> tuple[BlockRange, ...]:
        """Global indices that this rank owns, one range for each dim."""
        sizes = zip(self.global_shape, self.process_grid.dims, self.process_grid.coords, strict=True)
        return tuple(block_range(n, p, c) for n, p, c in sizes)

    @property
    def point_index(self) -> Tensor:  # type: ignore[override]  # as large as a field, so it is not kept
        """Number of every cell of this rank's block in C order of the whole grid; int64, of ``local_shape``."""
        index = torch.zeros((), dtype=torch.int64, device=self.device)
        for r, total in zip(self.block, self.global_shape, strict=True):
            index = index.unsqueeze(-1) * total + torch.arange(r.start, r.stop, device=self.device)
        return index

    @cached_property
    def boundary(self) -> tuple[str, ...]:
        """Rule for cells outside the grid along each dim: periodic where the grid is, zero elsewhere."""
        return tuple("periodic" if p else "zero" for p in self.grid.periodic)

    def centres(self) -> tuple[Tensor, ...]:
        """Coordinates of this rank's cells, one float64 tensor for each dim, shaped to broadcast against (*local_shape)."""
        lines = (self.grid.centres(d, r.start, r.stop, self.device) for d, r in enumerate(self.block))
        return tuple(x.view([-1 if k == d else 1 for k in range(self.num_dims)]) for d, x in enumerate(lines))

    def with_shape(self, shape: Sequence[int]) -> "Domain":
        """The same box, ranks and process grid at another resolution; the same object for the same shape.

        Raises
        ------
        TopologyError
            If a rank would own no cell.
        """
        return self._sibling(self.grid.with_shape(shape), self.process_grid)

    def with_dims(self, dims: Sequence[int]) -> "Domain":
        """The same grid and ranks in another process grid, pencils for example; move fields with `repartition`."""
        return self._sibling(self.grid, ProcessGrid(check_dims(dims, self.global_shape, self.comm.size), self.comm.rank))

    def serial(self) -> "Domain":
        """The whole grid on this rank alone; the same object at every call."""
        alone = Domain(self.grid, ProcessGrid((1,) * self.num_dims, 0), Decomposition.alone(self.device))
        domain: Domain = self._shared.spaces.setdefault(("serial", self.grid), alone)
        return domain

    def plan(self, key: Hashable, target: Callable[[], Layout], boundary: Sequence[str]) -> WindowPlan:
        """Plan that reads windows of fields on this domain, made once.

        Parameters
        ----------
        key : hashable
            Names the windows, together with this domain and the boundary.
        target : callable
            Gives every rank's window; called only when the plan is new.
        boundary : sequence of str
            Rule for each dim.

        Communication
        -------------
        Local.
        """
        return self.once((key, boundary), lambda tag: WindowPlan(self.comm, self.layout, target(), boundary, tag))

    def ghost_window(self, widths: Sequence[tuple[int, int]], boundary: Sequence[str] | None = None) -> WindowPlan:
        """Plan that reads the window of this rank's block and (lower, upper) ghost cells along each dim; see `halo`."""
        widths = tuple(widths)
        return self.plan(("halo", widths), lambda: self.layout.widened(widths), self.boundary if boundary is None else tuple(boundary))

    @named_call
    def halo(
        self, *fields: Tensor, widths: int | Sequence[tuple[int, int]] = 1, boundary: str | Sequence[str] | None = None, fill: float = 0.0
    ) -> tuple[Tensor, ...]:
        """Fields with their ghost cells, corners included, differentiably.

        Parameters
        ----------
        *fields : Tensor
            Each (..., *local_shape), all of one dtype; they travel together.
        widths : int or sequence of (int, int)
            Ghost cells below and above along each dim, as wide as one likes; one number means everywhere.
        boundary : str or sequence of str, optional
            Rule for each dim, or one for all, default `boundary`.
        fill : float
            Value outside for the rule ``constant``.

        Returns
        -------
        tuple of Tensor
            Each (..., *(lower + n + upper)).

        Communication
        -------------
        Neighbors, one message per neighbor; backward sends the ghosts' gradients to their owners.
        """
        each = ((widths, widths),) * self.num_dims if isinstance(widths, int) else widths
        return window(self.ghost_window(each, (boundary,) * self.num_dims if isinstance(boundary, str) else boundary), *fields, fill=fill)

    @named_call
    def scatter(self, x: Tensor | None, root: int = 0) -> Tensor:
        """Deal a whole field on ``root`` (batch, channel, *global_shape), on any device, to blocks on `device`; other ranks pass None.

        Raises
        ------
        ShapeError
            On every rank, if the field does not end in ``global_shape``.

        Communication
        -------------
        Collective over comm; the adjoint is `gather`.
        """
        spec = self.comm.bcast(None if x is None else (tuple(x.shape), x.dtype, x.requires_grad), root)
        if spec is None or spec[0][-self.num_dims :] != self.global_shape:
            raise ShapeError(f"scatter expected a field on rank {root} that ends in {self.global_shape}, got {spec and spec[0]}")
        shape, dtype, requires_grad = spec
        if self.comm.rank != root:
            empty = (*shape[: len(shape) - self.num_dims], *(0,) * self.num_dims)
            x = torch.empty(empty, dtype=dtype, device=self.device, requires_grad=requires_grad)
        assert x is not None
        return window(self._between(Layout.whole(self.global_shape, root), self.layout, ("scatter", root)), x.to(self.device))[0]

    @named_call
    def gather(self, x: Tensor, root: int | None = None) -> Tensor:
        """Put the blocks of a field together.

        Parameters
        ----------
        x : Tensor
            (..., *local_shape).
        root : int, optional
            Who gets it; None: every rank.

        Returns
        -------
        Tensor
            (..., *global_shape), on ranks that do not get it (..., 0, ..., 0).

        Communication
        -------------
        Collective over comm; the adjoint is `scatter`, or a sum of all ranks' cotangents dealt to blocks.
        """
        if root is None:
            everywhere = Layout(
                self.global_shape, tuple(((0, n),) * p for n, p in zip(self.global_shape, self.process_grid.dims, strict=True))
            )
        else:
            everywhere = Layout.whole(self.global_shape, root)
        return window(self._between(self.layout, everywhere, ("gather", root)), x)[0]

    @named_call
    def repartition(self, x: Tensor, to: "Domain") -> Tensor:
        """Move a field to another process grid on the same ranks.

        Communication
        -------------
        All ranks that share cells, one message each; the adjoint is the way back.
        """
        if to.global_shape != self.global_shape or to.comm is not self.comm:
            raise TopologyError(f"cannot move a field of {self.global_shape} to {to}: the grid and the ranks must be the same")
        return window(self._between(self.layout, to.layout, ("repartition", to.process_grid.dims)), x)[0]

    def _sibling(self, grid: Grid, process_grid: ProcessGrid) -> "Domain":
        key = (grid, process_grid.dims)
        if key == self._key:
            return self
        if key not in self._shared.spaces:
            self._shared.spaces[key] = Domain(grid, process_grid, self._shared)
        domain: Domain = self._shared.spaces[key]
        return domain

    def _between(self, source: Layout, target: Layout, key: Hashable) -> WindowPlan:
        rules = ("zero",) * self.num_dims
        return self.once(key, lambda tag: WindowPlan(self.comm, source, target, rules, tag))
