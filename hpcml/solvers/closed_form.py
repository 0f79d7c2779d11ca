"""States taken on by what an equation knows in closed form, without an error in space or time."""

from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.parallel.space import Space
from hpcml.solvers.solver import Solver, check_step


class ClosedForm(Solver):
    """The solution that an equation knows for its states: data to learn from that no scheme has touched.

        u(t + dt) = later(u(t), dt)

    Parameters
    ----------
    equation : Equation
        One that knows what becomes of its states, see `hpcml.equations.Equation.later`.
    space : Domain or Triangles
        Where.
    dt : float
        Step of any length.

    Raises
    ------
    ConfigError
        For a space that the equation refuses, a step that is not positive, or an equation that does not know.

    Communication
    -------------
    Local.
    """

    def __init__(self, equation: Equation, space: Space, dt: float) -> None:
        equation.check(space)
        if type(equation).later is Equation.later:
            raise ConfigError(f"what becomes of a state of {type(equation).__name__} is not known in closed form: choose another solver")
        check_step(dt)
        self.equation, self.space, self.dt = equation, space, dt

    def advance(self, inner: Tensor) -> Tensor:
        return self.equation.later(inner, self.space, self.dt)
