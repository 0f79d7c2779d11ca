"""From the ``[equation]`` table of a case to the equation."""

from hpcml.core import case_equation
from hpcml.equations.advection_diffusion import AdvectionDiffusion
from hpcml.equations.burgers import Burgers
from hpcml.equations.darcy import Darcy
from hpcml.equations.equation import Equation
from hpcml.equations.gray_scott import GrayScott
from hpcml.equations.heat import Heat
from hpcml.equations.navier_stokes import NavierStokes
from hpcml.equations.shallow_water import ShallowWater
from hpcml.equations.wave import Wave

_EQUATIONS: dict[str, type[Equation]] = {
    "heat": Heat,
    "advection_diffusion": AdvectionDiffusion,
    "burgers": Burgers,
    "navier_stokes": NavierStokes,
    "shallow_water": ShallowWater,
    "gray_scott": GrayScott,
    "wave": Wave,
    "darcy": Darcy,
}


def build_equation(section: case_equation.Equation) -> Equation:
    """Equation with the coefficients of a case, whose names are those of its parameters.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> build_equation(case_equation.Heat(name="heat", diffusivity=0.1))
    Heat(diffusivity=0.1)
    """
    return _EQUATIONS[section.name](**section.model_dump(exclude={"name"}))
