"""Every equation of a case file is built with its coefficients."""

import typing

import pytest

from hpcml.core import case_equation
from hpcml.equations import build_equation

SECTIONS = typing.get_args(typing.get_args(case_equation.Equation)[0])


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.__name__)
def test_names_and_defaults_agree(section):
    values = {"velocity": (1.0, 2.0)} if section is case_equation.AdvectionDiffusion else {}
    table = section(name=typing.get_args(section.model_fields["name"].annotation)[0], **values)
    equation = build_equation(table)
    assert type(equation).__name__ == section.__name__
    assert {name: getattr(equation, name) for name in table.model_dump(exclude={"name"})} == table.model_dump(exclude={"name"})
