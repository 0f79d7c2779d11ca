"""The case file: the tables are complete, and the member of a union that a table names is the one it is checked against."""

import tomllib

import pytest

from hpcml.core.case import Case
from hpcml.core.config import to_toml
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config

SIMULATION = {
    "grid": {"shape": [64, 64], "periodic": [True, False]},
    "equation": {"name": "navier_stokes"},
    "data": {"kind": "simulation"},
    "model": {"name": "fno", "modes": 16},
}
TENSORS = {"data": {"kind": "tensors", "train": "train.pt"}, "model": {"name": "unet"}}


@pytest.mark.parametrize("tables", [SIMULATION, TENSORS])
def test_a_short_case_is_complete_and_reads_back_from_its_own_text(tables):
    case = complete_config(tables, Case, "case")
    assert complete_config(tomllib.loads(to_toml(case)), Case, "case").model_dump() == case.model_dump()


@pytest.mark.parametrize(
    ("table", "entries", "words"),
    [
        ("model", {"name": "unet", "modes": 4}, ["unknown key model.modes", "model.levels"]),
        ("model", {"name": "fnoo"}, ["model.name", "'fno', 'unet'", "'fnoo'"]),
        ("model", {"channels": 4}, ["model.name is missing"]),
        ("model", {"name": "fno", "modes": 0}, ["model.modes", "greater than 0", "got 0"]),
        ("equation", {"name": "heat", "viscosity": 1.0}, ["unknown key equation.viscosity", "equation.diffusivity"]),
        ("ranks", {"domain": [2, 2, 2, 2]}, ["ranks.domain", "'auto' or at most 3 entries"]),
        ("ranks", {"domain": "best"}, ["ranks.domain", "'auto' or a list", "'best'"]),
        ("grid", {"shape": []}, ["grid.shape", "at least 1 entries"]),
        ("data", {"kind": "simulation", "seed": 2**64}, ["data.seed", "less than 9223372036854775808", "got 18446744073709551616"]),
        ("grid", {"shape": [8], "extent": 1e-320}, ["grid.extent", "greater than or equal to 1e-30"]),
        ("grid", {"shape": [8], "extent": 1e200}, ["grid.extent", "less than or equal to 1e+30"]),
        ("grid", {"shape": [2**40]}, ["grid.shape", "less than 2147483648"]),
        ("equation", {"name": "heat", "diffusivity": 1e-310}, ["equation.diffusivity", "greater than or equal to 1e-30"]),
        ("output", {"folder": "a\0b"}, ["NUL"]),
        ("training", {"learning_rate": float("nan")}, ["training.learning_rate", "finite number", "nan"]),
    ],
)
def test_a_mistake_is_named(table, entries, words):
    with pytest.raises(ConfigError) as caught:
        complete_config(SIMULATION | {table: entries}, Case, "case.toml")
    assert all(word in str(caught.value) for word in ["case.toml", *words]), str(caught.value)


def test_a_simulation_needs_grid_and_equation():
    with pytest.raises(ConfigError, match=r"needs the table \[equation\], and \[grid\] unless"):
        complete_config({name: SIMULATION[name] for name in ("data", "model")}, Case, "case.toml")
