"""What a name in a case stands for: a short name of hpcml's, one that an installed package brings, or ``module:name`` of the user's own.

    [model]
    name = "fno"                    # hpcml's
    name = "mypackage.nets:ResNet"  # the user's: what Python finds by this name, in the current folder too

A package that is installed registers short names by entry points in the group ``hpcml.KIND``, for instance ``hpcml.model``.
Looking a name up imports nothing; only `load` does, and only what was named.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hpcml.core.config_error import LIKE
from hpcml.core.errors import ConfigError
from hpcml.core.trusted import distrust

BUILT_IN: dict[str, dict[str, str]] = {
    "model": {
        "fno": "hpcml.models.fno:FNO",
        "unet": "hpcml.models.unet:UNet",
        "graph_mixer": "hpcml.models.graph_mixer:GraphMixer",
        "mesh_graph_net": "hpcml.models.mesh_graph_net:MeshGraphNet",
        "mesh_transformer": "hpcml.models.mesh_transformer:MeshTransformer",
        "parameter_mlp": "hpcml.models.parameter_mlp:ParameterMLP",
        "particle_net": "hpcml.models.particle_net:ParticleNet",
        "physics_attention": "hpcml.models.physics_attention_net:PhysicsAttentionNet",
    },
    "equation": {
        "heat": "hpcml.equations.heat:Heat",
        "advection_diffusion": "hpcml.equations.advection_diffusion:AdvectionDiffusion",
        "burgers": "hpcml.equations.burgers:Burgers",
        "navier_stokes": "hpcml.equations.navier_stokes:NavierStokes",
        "shallow_water": "hpcml.equations.shallow_water:ShallowWater",
        "gray_scott": "hpcml.equations.gray_scott:GrayScott",
        "kuramoto_sivashinsky": "hpcml.equations.kuramoto_sivashinsky:KuramotoSivashinsky",
        "wave": "hpcml.equations.wave:Wave",
        "darcy": "hpcml.equations.darcy:Darcy",
        "cylinder_wake": "hpcml.equations.cylinder_wake:CylinderWake",
        "falling_block": "hpcml.equations.falling_block:FallingBlock",
        "charged_particles": "hpcml.equations.charged_particles:ChargedParticles",
        "taylor_green": "hpcml.equations.taylor_green:TaylorGreen",
        "shallow_water_sphere": "hpcml.equations.shallow_water_sphere:ShallowWaterSphere",
    },
    "solver": {
        "rk4": "hpcml.solvers.runge_kutta:rk4",
        "ssp_rk3": "hpcml.solvers.runge_kutta:ssp_rk3",
        "spectral_navier_stokes": "hpcml.solvers.spectral_navier_stokes:SpectralNavierStokes",
        "darcy": "hpcml.solvers.darcy:DarcySolver",
        "closed_form": "hpcml.solvers.closed_form:ClosedForm",
        "projection": "hpcml.solvers.projection:Projection",
        "verlet": "hpcml.solvers.verlet:Verlet",
    },
    "loss": {"mse": "hpcml.training.loss:mse", "relative_l2": "hpcml.training.loss:relative_l2", "h1": "hpcml.training.loss:h1"},
    "optimiser": {
        "adamw": "hpcml.training.optimiser:adamw",
        "lbfgs": "hpcml.training.optimiser:lbfgs",
        "soap": "pytorch_optimizer:SOAP",
    },
    "layout": dict.fromkeys(
        ("the-well", "pdebench", "pdebench-groups", "pdebench-incompressible", "mesh"), "hpcml.io.dataset.layouts:describe_path"
    ),  # files say which of them they have
    "stream": {},
    "simulation": {
        "heat_plate": "hpcml.online.plate:heat_plate",
        "shared_library": "hpcml.online.compiled:shared_library",
    },
    "buffer": {
        "fifo": "hpcml.online.fifo:Fifo",
        "firo": "hpcml.online.firo:Firo",
        "reservoir": "hpcml.online.reservoir:Reservoir",
        "balanced": "hpcml.online.balanced:Balanced",
        "history": "hpcml.online.history:History",
    },
    "sampler": {
        "uniform": "hpcml.online.fixed:Uniform",
        "halton": "hpcml.online.fixed:Halton",
        "sobol": "hpcml.online.fixed:Sobol",
        "latin_hypercube": "hpcml.online.fixed:LatinHypercube",
        "breed": "hpcml.online.breed:Breed",
        "residual": "hpcml.online.residual_sampler:ResidualSampler",
        "difficulty": "hpcml.online.difficulty:Difficulty",
        "ogas": "hpcml.online.ogas:Ogas",
    },
    "residual": {"heat_plate": "hpcml.online.heat_plate_residual:heat_plate_residual"},
    "postprocess": {},
    "schedule": {
        "constant": "hpcml.training.schedules:constant",
        "cosine": "hpcml.training.schedules:cosine",
        "step": "hpcml.training.schedules:step",
    },
}
"""By kind, the short names and what they stand for."""


def known(kind: str) -> dict[str, str]:
    """Short names of a kind, hpcml's and those of installed packages, and the ``module:name`` that each stands for.

    Communication
    -------------
    Local.
    """
    return {entry.name: entry.value for entry in entry_points(group=f"hpcml.{kind}")} | BUILT_IN[kind]


def target_of(kind: str, name: str) -> str:
    """What a name stands for, as ``module:name``.

    Raises
    ------
    ConfigError
        For a name that is neither known nor of that form.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> target_of("model", "fno")
    'hpcml.models.fno:FNO'
    """
    names = known(kind)
    module, colon, attribute = name.partition(":")
    if name in names:
        return names[name]
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        expected = f"one of {', '.join(map(repr, names))}, or " if names else ""
        raise ConfigError(f"expected {expected}'module:name' of {_article(kind)} of your own, got {name!r}{_meant(name, names)}")
    return name


def load(kind: str, name: str) -> Any:
    """Import what a name stands for.

    Raises
    ------
    ConfigError
        For an unknown name, and where the module or what it should hold is not there.

    Communication
    -------------
    Local.
    """
    module, _, attributes = target_of(kind, name).partition(":")
    try:
        with nullcontext() if name in known(kind) else _current_folder():
            found: Any = import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if missing and (module == missing or module.startswith(f"{missing}.")):
            raise ConfigError(f"{name!r}: there is no module {missing!r}: install it, or start in its folder or with PYTHONPATH") from error
        raise ConfigError(f"{name!r}: importing {module} failed: {error}") from error
    for part in attributes.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{name!r}: {module} has no {attributes!r}{_meant(part, dir(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{name!r} is {type(found).__name__} {found!r}, not a class or a function")
    return found


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the user's own be found in the current folder too, last, so that they never take the place of an installed one.

    It stays so only where nobody else can write: a package that is not installed would be looked for among other people's files.
    """
    if "" in sys.path or "." in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        if _others_can_write_here():
            sys.path.remove("")


def _others_can_write_here() -> bool:
    try:
        return distrust(Path.cwd()) is not None
    except OSError:  # it is gone
        return True


def _meant(name: str, known: Iterable[str]) -> str:
    alike = get_close_matches(name, list(known), 1, LIKE)
    return f": did you mean {alike[0]!r}?" if alike else ""


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
