"""Ghost cells for some channels of an activation; the others see their own block only, and a monitor watches what that costs."""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_max
from hpcml.parallel.layout import Layout
from hpcml.parallel.window import window
from hpcml.parallel.window_plan import WindowPlan


class PartialHalo:
    """Widens activations by ghost cells of which only the first channels' are the neighbors'; differentiable.

        shared channels     ghost = owner's cell
        private channels    ghost = nearest cell of one's own block, along the dims that are split

    A network learns what it had better put into the shared channels, as with tensors of which only some channels are summed over ranks.

    Parameters
    ----------
    domain : Domain
        Of the activations.
    channels : int
        That are shared, at least 1; as many as an activation has, or more: it is `Domain.halo`, bit for bit.
    widths : int or sequence of (int, int)
        Ghost cells, as for `Domain.halo`.
    tolerance : float
        Largest error of a private ghost cell, over the range of its channel, with which the halo stays partial.
    every : int
        Calls from one look of the monitor to the next; the first call is looked at.

    Attributes
    ----------
    channels : int or None
        That are shared; None after the monitor has called: then all are.
    error : float
        That the monitor saw last.

    Raises
    ------
    ConfigError
        For less than one channel.

    Communication
    -------------
    Neighbors, one message each with the shared channels; the backward pass sends as much the other way. When the monitor looks: all
    channels, and an all-reduce of three numbers per channel. All ranks come to the same verdict.

    Notes
    -----
    The result depends on the number of ranks; on one rank it is that of `Domain.halo`.

    References
    ----------
    I. Lamprecht and others, Tensor-parallelism with partially synchronized activations (CAAT-Net), NeurIPS 2025, arXiv:2506.19645.

    Examples
    --------
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((4,)), MPI.COMM_SELF)
    >>> PartialHalo(domain, channels=1)(torch.arange(8.0).view(1, 2, 4))
    tensor([[[3., 0., 1., 2., 3., 0.],
             [7., 4., 5., 6., 7., 4.]]])
    """

    channels: int | None

    def __init__(
        self, domain: Domain, channels: int, widths: int | Sequence[tuple[int, int]] = 1, tolerance: float = 0.5, every: int = 64
    ) -> None:
        if channels < 1:
            raise ConfigError(f"a partial halo shares at least one channel, got {channels}")
        self.domain, self.channels = domain, channels
        self.tolerance, self.every = tolerance, every
        self.error, self._calls = 0.0, 0
        self.widths = ((widths, widths),) * domain.num_dims if isinstance(widths, int) else tuple(widths)

    @named_call
    def __call__(self, x: Tensor) -> Tensor:
        """Widen (batch, channel, *local_shape) to (batch, channel, *(lower + local + upper))."""
        plan = self.domain.halo_plan(self.widths)
        if self.channels is None or self.channels >= x.shape[1]:
            return window(plan, x)[0]
        partial = torch.cat([window(plan, x[:, : self.channels])[0], window(self._private_plan(), x[:, self.channels :])[0]], 1)
        if self._calls % self.every == 0 and self._is_wrong(partial.detach(), plan.forward([x.detach()])[0]):
            self.channels = None
            return window(plan, x)[0]
        self._calls += 1
        return partial

    def _is_wrong(self, partial: Tensor, fresh: Tensor) -> bool:
        dims = (0, *range(2, fresh.dim()))
        seen = torch.stack([(partial - fresh).abs().amax(dims), fresh.amax(dims), -fresh.amin(dims)])
        error, largest, smallest = all_max(seen, self.domain.comm)
        self.error = float(torch.where(error == 0, 0.0, error / (largest + smallest)).max())
        return not self.error <= self.tolerance

    def _private_plan(self) -> WindowPlan:
        domain = self.domain
        rules = tuple("replicate" if p > 1 else rule for p, rule in zip(domain.process_grid.dims, domain.boundary, strict=True))
        block = Layout.blocks(domain.local_shape, (1,) * domain.num_dims)
        return domain.once(
            ("private halo", self.widths), lambda tag: WindowPlan(MPI.COMM_SELF, block, block.widened(self.widths), rules, tag)
        )
