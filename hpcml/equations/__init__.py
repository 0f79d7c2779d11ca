"""Partial differential equations, one per file: tendency, exact solution, initial states, stable step."""

from hpcml.equations.advection_diffusion import AdvectionDiffusion
from hpcml.equations.build import build_equation
from hpcml.equations.burgers import Burgers
from hpcml.equations.charged_particles import ChargedParticles
from hpcml.equations.cylinder_wake import CylinderWake
from hpcml.equations.darcy import Darcy
from hpcml.equations.equation import Equation
from hpcml.equations.falling_block import FallingBlock
from hpcml.equations.gray_scott import GrayScott
from hpcml.equations.heat import Heat
from hpcml.equations.incompressible_flow import IncompressibleFlow
from hpcml.equations.kuramoto_sivashinsky import KuramotoSivashinsky
from hpcml.equations.navier_stokes import NavierStokes
from hpcml.equations.particles import Particles
from hpcml.equations.shallow_water import ShallowWater
from hpcml.equations.shallow_water_sphere import ShallowWaterSphere
from hpcml.equations.taylor_green import TaylorGreen
from hpcml.equations.wave import Wave

__all__ = [
    "AdvectionDiffusion",
    "Burgers",
    "ChargedParticles",
    "CylinderWake",
    "Darcy",
    "Equation",
    "FallingBlock",
    "GrayScott",
    "Heat",
    "IncompressibleFlow",
    "KuramotoSivashinsky",
    "NavierStokes",
    "Particles",
    "ShallowWater",
    "ShallowWaterSphere",
    "TaylorGreen",
    "Wave",
    "build_equation",
]
