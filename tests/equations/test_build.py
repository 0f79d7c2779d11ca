"""Every equation of a case file is built with its coefficients."""

from dataclasses import fields

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice, options_of
from hpcml.core.registry import BUILT_IN
from hpcml.equations import build_equation


@pytest.mark.parametrize("name", BUILT_IN["equation"])
def test_names_and_defaults_agree(name):
    given = {"velocity": (1.0, 2.0)} if name == "advection_diffusion" else {}
    table = options_of("equation", name)(name=name, **given)
    equation = build_equation(table)
    assert {field.name: getattr(equation, field.name) for field in fields(equation)} == table.options


def test_what_is_no_equation_is_refused():
    with pytest.raises(ConfigError, match="makes OrderedDict, which is no hpcml.equations.Equation"):
        build_equation(Choice(name="collections:OrderedDict"))
