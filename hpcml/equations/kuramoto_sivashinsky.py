"""Kuramoto-Sivashinsky equation in 1 dim: chaos in space and time.

    uₜ + u uₓ + uₓₓ + ν uₓₓₓₓ = 0

Waves longer than 2π √ν grow, shorter ones decay, and the product passes what grows on to them: cells of about 9 √ν length that split and
merge for ever in boxes longer than about 20 √ν.

Good values: a box of 32, 48 to 64 cells, viscosity 1, snapshots every 0.5 after a spin-up of 10 to 20.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.equations.equation import Equation
from hpcml.equations.largest import largest
from hpcml.equations.padded import Padded
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class KuramotoSivashinsky(Equation):
    """uₜ + u uₓ + uₓₓ + ν uₓₓₓₓ = 0, periodic.

    Parameters
    ----------
    viscosity : float
        ν > 0, length² (that of uₓₓ is 1).

    Notes
    -----
    Fourth order in space; three ghost cells. The product is a difference of fluxes, so the mean of u is kept to round-off. Explicit steps
    are bound by the fourth derivative, 0.075 dx⁴ / ν: half the cells, a sixteenth of the steps. The shortest wave that grows, 2π √ν,
    should have about ten cells.

    References
    ----------
    Y. Kuramoto, T. Tsuzuki, Progress of Theoretical Physics 55, 356 (1976); G. I. Sivashinsky, Acta Astronautica 4, 1177 (1977).

    Examples
    --------
    >>> KuramotoSivashinsky().channels(1)
    ('height_slope',)
    """

    num_dims: ClassVar[tuple[int, ...]] = (1,)

    viscosity: Positive = 1.0

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("height_slope",)

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        (dx,) = domain.grid.spacing
        padded = Padded.of(state, domain, 3)
        energy = Padded(0.5 * padded.values.square(), padded.spacing, 3)
        total = padded.at(0, 0) * (56 / 6 * self.viscosity / dx**4)
        for offset, weight in ((1, -39), (2, 12), (3, -1)):
            total = total.add(padded.at(0, -offset) + padded.at(0, offset), alpha=weight / 6 * self.viscosity / dx**4)
        return -(energy.derivative_4(0) + padded.laplacian_4() + total)

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Smooth states of root mean square 1 with up to 4 waves."""
        return random_field(domain, samples, 1, ("kuramoto_sivashinsky", seed), lambda k: torch.exp(-((k / 3) ** 2)), num_waves=4)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Without a state, speeds up to 4 are assumed."""
        (dx,) = domain.grid.spacing
        (speed,) = [4.0] if state is None else largest(state, domain)
        return 1.0 / (speed / dx + 8 / 3 / dx**2 + 40 / 3 * self.viscosity / dx**4)
