"""What every equation of this package knows about itself."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.graphs.mesh import Mesh


class Equation(ABC):
    """A partial differential equation: its channels, what changes them, what they start from, and where the answer is known.

        du/dt = tendency(u)

    States are tensors (batch, channel, *local_shape) on a `hpcml.fields.Domain`, values at cell centres; those of an equation ``on_mesh``
    are (batch, node, channel) on the `hpcml.graphs.Triangles` of its mesh, of one that ``moves`` on a `hpcml.graphs.Graph` of its
    particles. Subclasses are frozen dataclasses of the
    equation's coefficients, so two equal ones are the same equation.

    Attributes
    ----------
    num_dims : tuple of int
        Numbers of dims in which the equation is written here; of an equation on a mesh, the one number of its nodes' coordinates.
    on_mesh : bool
        Whether it lives on a mesh of its own, see `mesh`, in place of the grid of a case.
    moves : bool
        Whether the points of that mesh are particles, whose positions are channels of the state.
    needs_periodic : bool
        Whether every dim must be periodic.
    steady : bool
        Whether there is no time: one step of its solver then goes from what is given to the solution.
    constrained : bool
        Whether more than its tendency holds, such as that a flow does not diverge, so that steps along the tendency alone leave it.
    given : tuple of str
        Channels that do not change and come with the problem: those that a steady equation has its solution for, or the last of a state.
    solver : str
        Name of the solver that suits it, see `hpcml.solvers.build_solver`.

    Notes
    -----
    Along a dim that is not periodic an equation with ``needs_periodic = False`` has walls half a cell beyond the outermost centres; its
    page says what holds there.
    """

    num_dims: ClassVar[tuple[int, ...]] = (1, 2, 3)
    on_mesh: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    needs_periodic: ClassVar[bool] = True
    steady: ClassVar[bool] = False
    constrained: ClassVar[bool] = False
    given: ClassVar[tuple[str, ...]] = ()
    solver: ClassVar[str] = "rk4"

    def mesh(self) -> Mesh:
        """The whole mesh that it lives on, made on one rank.

        Raises
        ------
        ConfigError
            Where the equation is one of grids.

        Communication
        -------------
        Local.
        """
        raise ConfigError(f"{type(self).__name__} lives on the grid of a case and has no mesh")

    def check(self, domain: Any) -> None:
        """Refuse a domain on which the equation has no meaning.

        Raises
        ------
        ConfigError
            On every rank alike.

        Communication
        -------------
        Local.
        """
        name = type(self).__name__
        if not isinstance(domain, Domain):
            raise ConfigError(f"{name} lives on a grid, not on {domain}: decompose one")
        if domain.num_dims not in self.num_dims:
            possible = " or ".join(map(str, self.num_dims))
            raise ConfigError(f"{name} is written in {possible} dims, got a grid of shape {domain.global_shape}")
        if self.needs_periodic and not all(domain.grid.periodic):
            raise ConfigError(f"{name} needs a grid that is periodic in every dim, got periodic = {domain.grid.periodic}")

    @abstractmethod
    def channels(self, num_dims: int) -> tuple[str, ...]:
        """Names of the state's channels, in order."""

    @abstractmethod
    def tendency(self, state: Tensor, domain: Any) -> Tensor:
        """Time derivative of every channel, differentiably.

        Parameters
        ----------
        state : Tensor
            (batch, channel, *local_shape), float32 or float64.
        domain : Domain or Triangles
            Where it lives.

        Returns
        -------
        Tensor
            Shape of ``state``, its unit per time.

        Communication
        -------------
        Neighbors, one message per neighbor for all channels together, unless the equation says otherwise.
        """

    def exact(self, domain: Any, time: float) -> Tensor:
        """A solution known in closed form, at the cell centres of this rank: float64, (1, channel, *local_shape).

        Raises
        ------
        ConfigError
            Where none is known.

        Communication
        -------------
        Local.
        """
        raise ConfigError(f"no solution of {self} is known in closed form: compare with a finer grid instead")

    def later(self, state: Tensor, domain: Any, time: float) -> Tensor:
        """What a state of `initial_state`, or one that has come of it, is a ``time`` later, where that is known in closed form.

        Raises
        ------
        ConfigError
            Where it is not.

        Communication
        -------------
        Local.
        """
        raise ConfigError(f"what becomes of a state of {type(self).__name__} is not known in closed form: choose another solver")

    @abstractmethod
    def initial_state(self, domain: Any, samples: range, seed: int = 0) -> Tensor:
        """Random states to start from, which depend on the seed and the sample's number, never on the ranks or the resolution.

        Parameters
        ----------
        domain : Domain
            Where they live.
        samples : range
            Numbers of the samples.
        seed : int
            Of the whole set.

        Returns
        -------
        Tensor
            float64, (len(samples), channel, *local_shape).

        Communication
        -------------
        Local.
        """

    @abstractmethod
    def stable_step(self, domain: Any, state: Tensor | None = None) -> float:
        """Largest time step at which the explicit solvers of `hpcml.solvers` are stable, with a margin.

        Parameters
        ----------
        domain : Domain
            The grid decides.
        state : Tensor, optional
            Gives the speeds where the equation is nonlinear; without it the scale of `initial_state` is assumed.

        Communication
        -------------
        Local without ``state``; else one all-reduce over all ranks, so that all of them take the same step.
        """
