"""From what a case names to the equation."""

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.core.registry import load
from hpcml.equations.equation import Equation


def build_equation(choice: Choice) -> Equation:
    """Equation with the coefficients of a case, whose names are those of its parameters.

    Raises
    ------
    ConfigError
        If what is named is no equation.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> build_equation(Choice(name="heat", diffusivity=0.1))
    Heat(diffusivity=0.1)
    """
    equation = load("equation", choice.name)(**choice.options)
    if not isinstance(equation, Equation):
        raise ConfigError(f"equation.name = {choice.name!r} makes {type(equation).__name__}, which is no hpcml.equations.Equation")
    return equation
