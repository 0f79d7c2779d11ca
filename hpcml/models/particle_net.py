"""A network of particles: messages between those that are near where they are now, and through plane waves between all.

A. Sanchez-Gonzalez and others, International Conference on Machine Learning 2020, arXiv:2002.09405, for particles as a graph that is made
anew in every state; A. Kosmala and others, International Conference on Machine Learning 2023, arXiv:2303.04791, for the waves.
"""

from itertools import zip_longest
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.config import Depth, Lengths, NonNegative, Positive, Real, Width
from hpcml.core.errors import ConfigError
from hpcml.graphs.graph import Graph
from hpcml.graphs.near import Near
from hpcml.graphs.neighbors import Within
from hpcml.models.layers.ewald import Ewald
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.parallel.sum_points import sum_points

RADIAL = 12
"""Functions of the distance of two particles."""


@numbered
class ParticleNet(nn.Module):
    """Encode particles, let those that are near change each other some times, decode them.

        m_ij = w(r_ij) MLP(v_i, v_j, r_ij)        v_i' = v_i + MLP(v_i, sum over j of m_ij) [+ Ewald(v)_i]

    where w falls to 0 at the radius. Who is near is found anew at each call, from the positions that the input says.

    Parameters
    ----------
    graph : Graph
        Deals particles to ranks; its edges do not matter, nor where its nodes lie.
    in_channels : int
        Positions first, one channel for each coordinate; then whatever is known of particles, such as velocities and charges.
    out_channels : int
        Of what is predicted.
    radius : float
        Particles that are nearer are joined; at most half of a periodic box.
    channels : int
        Of what lies on particles and in messages inside.
    steps : int
        Rounds of messages, each with weights of its own.
    potential : bool
        Whether the output, of one channel for each coordinate, is minus the gradient of a learned energy by the positions: forces that
        conserve energy, sum to 0 where no waves are without their opposites, and turn with the particles.
    cutoff : float
        Longest wave vector of an `hpcml.models.layers.Ewald` layer beside each round, radians per unit of length; 0 for none.
    period : sequence of float, optional
        Lengths of a periodic box, for neighbors and waves.
    walls : sequence of (float, float), optional
        For each coordinate the lowest and the highest place, one that is never reached where there is no wall: particles know how far they
        are from each wall that is nearer than the radius.

    Attributes
    ----------
    unscaled_channels : int
        Coordinates, which `hpcml.models.surrogate.Surrogate` leaves as they are.

    Raises
    ------
    ConfigError
        For fewer input channels than coordinates, or a potential with another number of output channels.

    Communication
    -------------
    Forward: what finds the neighbors (`hpcml.graphs.Within`) once for each sample, then ghosts of ``channels`` numbers once for each step;
    with a cutoff a sum over graph.comm for each step. Backward: as much, and one all-reduce of the gradients of all parameters over
    graph.world_comm.

    Notes
    -----
    Good values: a radius with some 10 to 30 neighbors; Adam at a learning rate of 1e-3.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.zeros((5, 3)), np.zeros((2, 0), np.int64), MPI.COMM_SELF)
    >>> model = ParticleNet(graph, 4, 3, radius=0.4, channels=8, steps=2, potential=True, cutoff=7.0, period=(1.0, 1.0, 1.0))
    >>> model(torch.rand(2, 5, 4)).shape
    torch.Size([2, 5, 3])
    """

    shares_gradients = True

    def __init__(
        self,
        graph: Graph,
        in_channels: int,
        out_channels: int,
        radius: Positive,
        channels: Width = 64,
        steps: Depth = 3,
        potential: bool = False,
        cutoff: NonNegative = 0.0,
        period: Lengths | None = None,
        walls: tuple[tuple[Real, Real], ...] | None = None,
    ) -> None:
        super().__init__()
        dims = graph.positions.shape[1]
        if in_channels < dims or (potential and out_channels != dims):
            raise ConfigError(
                f"ParticleNet: {in_channels} channels in, {out_channels} out, in {dims} dims: the input begins with positions, and what "
                "comes of a potential has as many channels as they have"
            )
        self.space, self.radius, self.period, self._potential = graph, radius, period, potential
        self._in_channels, self.unscaled_channels = in_channels, dims
        if walls is not None and (len(walls) != dims or any(not low < high for low, high in walls)):
            raise ConfigError(f"ParticleNet: walls are {dims} pairs of a lower and a higher number, one for each coordinate, got {walls}")
        self.walls = tuple((low, high) for low, high in walls or ())
        self.encode = nn.Linear(max(in_channels - dims + 2 * len(self.walls), 1), channels)
        of_edges = RADIAL if potential else RADIAL + dims
        self.rounds = nn.ModuleList(Round(channels, of_edges) for _ in range(steps))
        self.far = nn.ModuleList(Ewald(graph, channels, cutoff, period) for _ in range(steps if cutoff else 0))
        last = nn.Linear(channels, 1, bias=False) if potential else nn.Linear(channels, out_channels)  # energies have no zero
        self.decode = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last)
        share_parameters(self, graph.world_comm)

    def forward(self, x: Tensor) -> Tensor:
        """Field ([sample,] particle, out_channels) for x of ([sample,] particle, in_channels)."""
        space = self.space
        check_field(x, space, self._in_channels, "ParticleNet", self.encode.weight)
        position, known = space.points(x).split([self.unscaled_channels, self._in_channels - self.unscaled_channels], -1)
        near = Near.of(space, position, Within(self.radius), self.period)
        if not self._potential:
            return space.as_field_of(self._decoded(near, position, known), x)
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            at = position if position.requires_grad else position.detach().requires_grad_()
            (energy,) = sum_points(space, space.comm, lambda e: [e.sum()], self._decoded(near, at, known))
            (slope,) = torch.autograd.grad(energy, at, create_graph=training)
        return space.as_field_of(-slope, x)

    def _decoded(self, near: Near, position: Tensor, known: Tensor) -> Tensor:
        """What is made of particles, (sample, particle, channel)."""
        space, shape = self.space, position.shape[:-1]
        lies = near.difference(position) / self.radius
        length = (lies.square().sum(-1, keepdim=True) + 1e-12).sqrt()  # differentiable where two particles are in one place
        middles = torch.arange(RADIAL, dtype=length.dtype, device=length.device) / (RADIAL - 1)
        edges = torch.exp(-0.5 * ((length - middles) * (RADIAL - 1)) ** 2)
        edges = edges if self._potential else torch.cat([edges, lies], -1)
        weight = (1 - length.square()).clamp(min=0) ** 2
        with replicated_together(self, space.world_comm):
            waves = cast(Ewald, self.far[0]).waves(position).to(position.dtype) if self.far else None
            v = self.encode(self._of_particles(position, known))
            for exchange, far in zip_longest(self.rounds, self.far):
                change = exchange(near, near.rows(v), edges, weight).unflatten(0, shape)
                v = v + change if far is None else v + change + far(v, waves)
            decoded: Tensor = self.decode(v)
        return decoded

    def _of_particles(self, position: Tensor, known: Tensor) -> Tensor:
        """What is known of particles, and their distances of walls over the radius, at most 1."""
        away = [
            (sign * (position[..., d : d + 1] - place) / self.radius).clamp(max=1.0)
            for d, wall in enumerate(self.walls)
            for sign, place in zip((1.0, -1.0), wall, strict=True)
        ]
        parts = [*([known] if known.shape[-1] else []), *away]
        return torch.cat(parts, -1) if parts else torch.ones_like(position[..., :1])


class Round(nn.Module):
    """One round of messages of a `ParticleNet`; what an MLP's first layer does with a particle is done once for it."""

    def __init__(self, channels: int, of_edges: int) -> None:
        super().__init__()
        self.begin, self.end = (nn.Linear(channels, channels, bias=bias) for bias in (True, False))
        self.edge, self.message = nn.Linear(of_edges, channels, bias=False), nn.Linear(channels, channels)
        self.change = nn.Sequential(nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, near: Near, v: Tensor, edges: Tensor, weight: Tensor) -> Tensor:
        """Change of particles, (sample x particle, channel)."""
        messages = F.silu(near.at_begins(self.begin(v)) + near.at_ends(self.end(v)) + self.edge(edges))
        came: Tensor = near.aggregate(weight * F.silu(self.message(messages)))
        return self.change(torch.cat([v, came], -1))  # type: ignore[no-any-return]
