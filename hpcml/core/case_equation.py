"""The table ``[equation]`` of a case file: one section per equation, its coefficients in the units of the grid's extent and of time."""

from typing import Annotated, Literal

from pydantic import Field

from hpcml.core.config import NonNegative, Positive, Real, Section

Waves = Annotated[int, Field(gt=-(1 << 31), lt=1 << 31)]
Velocity = Annotated[tuple[Real, ...], Field(min_length=1, max_length=3)]


class Heat(Section):
    """du/dt = diffusivity laplace(u)."""

    name: Literal["heat"]
    diffusivity: Positive = 0.01
    """Length squared per time."""


class AdvectionDiffusion(Section):
    """du/dt + velocity . grad(u) = diffusivity laplace(u)."""

    name: Literal["advection_diffusion"]
    velocity: Velocity
    """One component per dim, length per time."""
    diffusivity: NonNegative = 0.0
    """Length squared per time."""
    scheme: Literal["upwind", "weno"] = "upwind"
    """Of the advection: third order, or fifth without new extrema at jumps."""


class Burgers(Section):
    """du/dt + u . grad(u) = viscosity laplace(u)."""

    name: Literal["burgers"]
    viscosity: Positive = 0.01
    """Length squared per time."""


class NavierStokes(Section):
    """dw/dt + u . grad(w) = viscosity laplace(w) - drag w + forcing, with u the velocity of the vorticity w, in two dims."""

    name: Literal["navier_stokes"]
    viscosity: Positive = 1e-3
    """Length squared per time."""
    drag: NonNegative = 0.0
    """Linear friction that keeps large vortices from growing, per time."""
    forcing: NonNegative = 0.0
    """Amplitude of the stirring, vorticity per time squared."""
    stirring: tuple[Waves, Waves] = (1, 1)
    """Waves of the stirring along each dim; (0, 4) is Kolmogorov's flow in 4 strips."""


class ShallowWater(Section):
    """Conservation of mass and momentum in a layer of depth h over a flat bed."""

    name: Literal["shallow_water"]
    gravity: Positive = 9.81
    """Length per time squared."""
    depth: Positive = 1.0
    """Of the layer at rest."""
    coriolis: Real = 0.0
    """Twice the rate of rotation, per time."""


class GrayScott(Section):
    """Two substances that diffuse and react: u + 2v -> 3v, u fed, v killed."""

    name: Literal["gray_scott"]
    diffusivity_u: Positive = 2e-5
    """Of the substance that is fed, length squared per time."""
    diffusivity_v: Positive = 1e-5
    """Of the substance that is killed."""
    feed: Positive = 0.04
    """Rate, per time."""
    kill: Positive = 0.06
    """Rate, per time."""


class Wave(Section):
    """d2u/dt2 = speed**2 laplace(u)."""

    name: Literal["wave"]
    speed: Positive = 1.0
    """Of the wave, length per time."""


class Darcy(Section):
    """-div(a grad(u)) = source, with the coefficient a as input."""

    name: Literal["darcy"]
    source: Real = 1.0
    """Right-hand side, the same everywhere."""


Equation = Annotated[
    Heat | AdvectionDiffusion | Burgers | NavierStokes | ShallowWater | GrayScott | Wave | Darcy,
    Field(discriminator="name"),
]
