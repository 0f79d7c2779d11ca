"""Gray and Scott's reaction and diffusion of two substances in 1 to 3 dims.

    uₜ = Dᵤ Δu - u v² + F (1 - u)
    vₜ = Dᵥ Δv + u v² - (F + k) v

v multiplies by eating u (u + 2v → 3v), u is fed at rate F, v is removed at rate F + k. Depending on F and k, spots divide until they
fill the box, stripes grow into labyrinths, or waves travel for ever.

Good values: 256² cells of a box of extent 2.5, Dᵤ = 2e-5, Dᵥ = 1e-5, step `GrayScott.stable_step` (about 0.5); spots that divide at
F = 0.035, k = 0.065, stripes at F = 0.04, k = 0.06; patterns need some thousand units of time. At T = 200 such fields are within 4 % of
those of three times as many cells along each dim; of 128² cells they are 20 and 50 % off.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.equations.largest import largest
from hpcml.equations.padded import Padded
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class GrayScott(Equation):
    """Gray and Scott's system, periodic or with walls that let nothing through.

    Parameters
    ----------
    diffusivity_u, diffusivity_v : float
        Dᵤ and Dᵥ, length² per time.
    feed, kill : float
        F and k, per time.

    Notes
    -----
    Second order in space; one ghost cell. Concentrations are relative to that of the feed.

    References
    ----------
    P. Gray and S. K. Scott, Chemical Engineering Science 39, 1087 (1984); J. E. Pearson, Science 261, 189 (1993).

    Examples
    --------
    >>> GrayScott().channels(2)
    ('u', 'v')
    """

    needs_periodic: ClassVar[bool] = False

    diffusivity_u: Positive = 2e-5
    diffusivity_v: Positive = 1e-5
    feed: Positive = 0.04
    kill: Positive = 0.06

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("u", "v")

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        laplacian = Padded.of(state, domain, 1).laplacian()
        u, v = state[:, :1], state[:, 1:]
        eaten = u * v * v
        rate_u = self.diffusivity_u * laplacian[:, :1] - eaten + self.feed * (1 - u)
        rate_v = self.diffusivity_v * laplacian[:, 1:] + eaten - (self.feed + self.kill) * v
        return torch.cat([rate_u, rate_v], 1)

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Steady pulse along dim 0, where diffusion balances reaction.

            s = F + k,      γ = Dᵥ / Dᵤ = s / F
            v = 3 s / (1 + √(1 - 9 γ s / 2) cosh((x - L/2) √(s / Dᵥ))),      u = 1 - γ v

        On a periodic grid it is exact up to exp(-L/2 √(s / Dᵥ)), what the pulses beyond the box add.

        Raises
        ------
        ConfigError
            If the coefficients have no such pulse.

        References
        ----------
        J. K. Hale, L. A. Peletier and W. C. Troy, SIAM Journal on Applied Mathematics 61, 102 (2000).
        """
        gamma, sink = self.diffusivity_v / self.diffusivity_u, self.feed + self.kill
        if not math.isclose(gamma, sink / self.feed) or 9 * gamma * sink >= 2:
            raise ConfigError(
                f"the exact pulse needs diffusivity_v / diffusivity_u = (feed + kill) / feed = g and 9 g (feed + kill) < 2, got {self}: "
                "try diffusivity_u = 1e-5, diffusivity_v = 1.6e-5, feed = 0.05, kill = 0.03"
            )
        distance = (domain.centres()[0] - domain.grid.extent[0] / 2) * math.sqrt(sink / self.diffusivity_v)
        v = 3 * sink / (1 + math.sqrt(1 - 4.5 * gamma * sink) * torch.cosh(distance))
        return torch.stack([1 - gamma * v, v]).expand(2, *domain.local_shape)[None].contiguous()

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Only u = 1, but for spots in which a random field is high: there u = 1/2 and v = 1/4."""
        field = random_field(domain, samples, 1, ("gray_scott", seed), lambda k: torch.exp(-((k / 6) ** 2)), num_waves=8)
        spot = 1 / (1 + torch.exp(8 * (1.5 - field)))  # torch.sigmoid rounds the last cells of a block otherwise
        return torch.cat([1 - 0.5 * spot, 0.25 * spot], 1)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Diffusion and reaction: at a rate of at most 1 while u and v stay between 0 and 1, as without a state is assumed."""
        diffusion = 2 * max(self.diffusivity_u, self.diffusivity_v) * sum(dx**-2 for dx in domain.grid.spacing)
        u, v = (1.0, 0.5) if state is None else largest(state, domain)
        return 1.0 / (diffusion + max(1.0, 2 * u * v + v * v, self.feed + self.kill))
