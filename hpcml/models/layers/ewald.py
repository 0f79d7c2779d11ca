"""Messages between all points through few plane waves: what decays slowly with the distance, for the price of one small sum.

A. Kosmala, J. Gasteiger, N. Gao, S. Guennemann, International Conference on Machine Learning 2023, arXiv:2303.04791, from its equations.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ConfigError
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import a_parameter, replicated_together, share_parameters
from hpcml.models.layers.point_coordinates import box_of, positions_of
from hpcml.models.layers.reach import check_field
from hpcml.models.layers.tilewise import alike, sum_tilewise, tilewise
from hpcml.parallel.space import Space

NARROW, RADIAL, RESIDUAL = 8, 48, 3
"""Of the paper: width of the filter's narrowest layer, functions of the length of a wave vector, residual layers at the end."""

MOST_POINTS = 1_000_000
"""Of a box of a lattice that is searched for waves."""


@numbered
class Ewald(nn.Module):
    """Send every point what all points have, filtered wave by wave.

        s_k = 1/N sum_j psi(x_j) d(r_j) e^{-i k r_j}        m_i = sum_k Re(s_k d(r_i) e^{i k r_i}) f(k)        y = residual layers of m

    over the points of all ranks, where psi is a linear map and f a learned filter of each wave and channel.

    Parameters
    ----------
    space : Space
        A grid or a graph, of 1 to 3 dims.
    channels : int
        Of x and y.
    cutoff : float
        Longest wave vector, radians per unit of length: 2 pi over the shortest wave.
    period : sequence of float, optional
        Lengths of a periodic box. The waves are then those that fit into it, d = 1, and f is free for each of them. Default, without a
        spacing: the box of a grid or a graph that is periodic along every dim.
    spacing : float, optional
        Without a period wave vectors lie on a lattice of this spacing, half the cutoff by default, f is a function of their length, and
        d(r) = prod_d sin(spacing r_d / 2) / (spacing r_d / 2), with r from the mean of all positions, stands for the waves between them.

    Raises
    ------
    ConfigError
        For another number of lengths than dims, a spacing together with a period, or a cutoff that leaves one wave, the constant.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: one all-reduce over space.comm of 2 x waves x channels numbers for each sample, whatever the number of points. Without a period
    one of as many numbers as there are dims more, for the mean position, where `waves` is not handed over. Backward: as much, and one
    all-reduce over space.world_comm for all parameters together.

    Notes
    -----
    Of a wave and its opposite one is kept. The paper's factor of 0.01 is 1/N of a hundred atoms.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> layer = Ewald(decompose(Grid((8, 8)), MPI.COMM_SELF), 4, cutoff=13.0, period=(1.0, 1.0))
    >>> layer.num_waves, layer(torch.zeros(2, 4, 8, 8)).shape
    (7, torch.Size([2, 4, 8, 8]))
    """

    shares_gradients = same_bits = True
    vectors: Tensor

    def __init__(
        self, space: Space, channels: int, cutoff: float, period: Sequence[float] | None = None, spacing: float | None = None
    ) -> None:
        super().__init__()
        dims = positions_of(space).shape[1]
        period = box_of(space) if period is None and spacing is None else None if period is None else tuple(map(float, period))
        if period is not None and (len(period) != dims or spacing is not None):
            raise ConfigError(f"Ewald: period={period}, spacing={spacing} in {dims} dims: give one length for each dim, or a spacing alone")
        self.space, self._channels, self._periodic = space, channels, period is not None
        self._spacing = cutoff / 2 if spacing is None else spacing
        vectors = half_lattice([2 * math.pi / length for length in period] if period else [self._spacing] * dims, cutoff)
        if len(vectors) == 1:
            raise ConfigError(f"Ewald: no wave but the constant has a vector of at most cutoff={cutoff}: raise it")
        self.num_waves = len(vectors)
        self.register_buffer("vectors", torch.tensor(vectors, dtype=torch.float64), persistent=False)
        self.cutoff = cutoff
        self.psi = nn.Linear(channels, channels)
        self.narrow = nn.Parameter(torch.randn(len(vectors) if period else RADIAL, NARROW) / NARROW**0.5)
        self.wide = nn.Linear(NARROW, channels, bias=False)
        self.residual = nn.ModuleList(nn.Linear(channels, channels) for _ in range(RESIDUAL))
        share_parameters(self, space.world_comm)

    def forward(self, x: Tensor, waves: Tensor | None = None) -> Tensor:
        """Field of as many channels as x; ``waves``, as `waves` gives them, spare many layers to compute them again."""
        space = self.space
        check_field(x, space, self._channels, "Ewald", a_parameter(self))
        waves = self.waves().to(x.dtype) if waves is None else waves
        with replicated_together(self, space.world_comm, space.tiles):
            sums = sum_tilewise(space, self._sums, waves, tilewise(space, self.psi, space.points(x), of=self.psi, on="points"))
            filtered = alike(space, lambda s: s * self._filter().repeat(2, 1), sums, of=self)
            return space.as_field_of(tilewise(space, self._received, waves, of=self.residual, on="points", shared=[filtered]), x)

    def _sums(self, waves: Tensor, psi: Tensor) -> Tensor:
        """Wave by wave what points send, (sample, 2 waves, channel)."""
        sums = torch.matmul(waves.mT, psi) / self.space.num_points_global
        return sums.to(torch.promote_types(sums.dtype, torch.float32))

    def _received(self, waves: Tensor, filtered: Tensor) -> Tensor:
        y = torch.matmul(waves, filtered.to(waves.dtype))
        for layer in self.residual:
            y = y + F.gelu(layer(y))
        return y

    def waves(self, positions: Tensor | None = None) -> Tensor:
        """Cosine and sine of every wave, ([sample,] point, 2 waves), at positions ([sample,] point, dim), by default those of the space.

        Communication
        -------------
        Without a period one all-reduce over space.comm of as many numbers as there are dims, backward too.
        """
        r = positions_of(self.space) if positions is None else positions
        mean = [] if self._periodic else [sum_tilewise(self.space, lambda r: r.sum(-2, keepdim=True), r) / self.space.num_points_global]
        return tilewise(self.space, self._waves, r, on="points", shared=mean)  # type: ignore[no-any-return]

    def _waves(self, r: Tensor, *mean: Tensor) -> Tensor:
        damping: Tensor | float = 1.0
        if mean:
            r = r - mean[0]
            damping = torch.sinc(self._spacing * r / (2 * math.pi)).prod(-1, keepdim=True)  # torch's has a factor of pi in it
        phases = torch.matmul(r, self.vectors.to(r).mT)
        return damping * torch.cat([torch.cos(phases), torch.sin(phases)], -1)

    def _filter(self) -> Tensor:
        """f, (wave, channel)."""
        if self._periodic:
            return self.wide(self.narrow)  # type: ignore[no-any-return]
        lengths = self.vectors.norm(dim=-1, keepdim=True) * ((RADIAL - 1) / self.cutoff)
        middles = torch.arange(RADIAL, dtype=lengths.dtype, device=lengths.device)
        return self.wide(torch.exp(-0.5 * (lengths - middles) ** 2).to(self.narrow.dtype) @ self.narrow)  # type: ignore[no-any-return]


def half_lattice(spacings: Sequence[float], cutoff: float) -> list[tuple[float, ...]]:
    """Points of a lattice no further than a cutoff from the origin, which is the first, one of each two that are opposite.

    Raises
    ------
    ConfigError
        For numbers that are not positive, or too many points.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> half_lattice([1.0, 2.0], 2.0)
    [(0.0, 0.0), (0.0, 2.0), (1.0, 0.0), (2.0, 0.0)]
    """
    if not 0 < cutoff < math.inf or not all(0 < spacing < math.inf for spacing in spacings):
        raise ConfigError(f"Ewald: cutoff={cutoff} of a lattice with spacings {list(spacings)}: expected positive numbers")
    if (about := math.prod(2 * cutoff / spacing + 1 for spacing in spacings)) > MOST_POINTS:
        raise ConfigError(f"Ewald: cutoff={cutoff} has about {about:.2g} waves, of which each point keeps two numbers: lower it")
    most = [math.floor(cutoff / spacing * (1 + 1e-12)) for spacing in spacings]  # rounding does not drop a wave at the cutoff
    numbers = [n for n in itertools.product(*(range(-m, m + 1) for m in most)) if n >= (0,) * len(most)]
    vectors = [tuple(n * spacing for n, spacing in zip(each, spacings, strict=True)) for each in numbers]
    return [vector for vector in vectors if math.hypot(*vector) <= cutoff * (1 + 1e-12)]
