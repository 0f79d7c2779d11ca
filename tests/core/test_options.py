"""Options of what a case names are its signature's, whether that is read or imported."""

import inspect

import pytest

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config, with_built_in
from hpcml.core.options import FIRST, GIVEN, options_of
from hpcml.core.registry import BUILT_IN, load

OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, in_channels: int, out_channels: int, width: int = 8, rates: tuple[float, float] = (0.1, 0.2), free=None):
        super().__init__()
class Loose(torch.nn.Module):
    def __init__(self, domain, **anything):
        super().__init__()
def loss(d, p, t, power: float = 2.0): ...
"""


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in BUILT_IN.items() for n, t in names.items() if t.startswith("hpcml.")])
def test_what_is_read_is_what_python_says(kind, name):
    found = load(kind, name)
    parameters = list(inspect.signature(found).parameters)[0 if isinstance(found, type) else FIRST.get(kind, 0) :]
    section = options_of(kind, name)
    assert set(section.model_fields) - {"name"} == set(parameters) - GIVEN[kind]
    for key in set(section.model_fields) - {"name"}:
        default = inspect.signature(found).parameters[key].default
        assert section.model_fields[key].is_required() or section.model_fields[key].default == default


def test_every_key_of_the_schema_is_explained():
    schema = with_built_in(Case).model_json_schema()
    bare = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, entry in section["properties"].items()
        if not entry.get("description") and "const" not in entry
    ]
    assert bare == []


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_options.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


CASE = {"data": {"kind": "tensors", "train": "a.pt"}}


def test_ones_own_are_as_good_as_hpcmls(own):
    tables = CASE | {"model": {"name": "own_options:Net", "rates": [0.5, 1]}, "training": {"loss": "own_options:loss"}}
    case = complete_config(tables, Case, "case.toml")
    assert case.model.options == {"width": 8, "rates": (0.5, 1.0), "free": None}
    assert case.training.loss.options == {"power": 2.0}
    loose = complete_config(CASE | {"model": {"name": "own_options:Loose", "depth": 3}}, Case, "case.toml")
    assert loose.model.options == {"depth": 3}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "own_options:Net", "widht": 3}, "case.toml: unknown key model.widht: did you mean model.width?"),
        ({"name": "own_options:Net", "width": "3"}, "case.toml: model.width: expected a valid integer, got '3'"),
        ({"name": "own_options:Net", "rates": [1.0]}, "case.toml: model.rates"),
        ({"name": "own_options:Nett"}, "case.toml: model.name: 'own_options:Nett': own_options has no 'Nett'"),
    ],
)
def test_a_mistake_in_ones_own_is_told_as_well(own, model, words):
    with pytest.raises(ConfigError) as caught:
        complete_config(CASE | {"model": model}, Case, "case.toml")
    assert words in str(caught.value)


def test_what_may_not_be_imported_is_taken_as_it_is():
    model = {"name": "nowhere_to_be_found:Net", "width": 3}
    case = complete_config(CASE | {"model": model, "training": {"loss": "h1"}}, Case, "case.toml", importing=False)
    assert case.model.options == {"width": 3} and case.training.loss.name == "h1"
    with pytest.raises(ConfigError, match="did you mean training.optimiser.betas"):
        complete_config(CASE | {"model": model, "training": {"optimiser": {"name": "adamw", "beta": 3}}}, Case, "c", importing=False)
