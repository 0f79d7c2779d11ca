"""Options of what a case names are its signature's, whether that is read or imported."""

import inspect
import math
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BeforeValidator

from hpcml.core.case import Case
from hpcml.core.config import check_config
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


OWN_PARTS = [(k, n) for k, names in BUILT_IN.items() for n, t in names.items() if t.startswith("hpcml.")]


@pytest.mark.parametrize(("kind", "name"), OWN_PARTS)
def test_what_is_read_is_what_python_says(kind, name):
    found = load(kind, name)
    parameters = list(inspect.signature(found).parameters)[0 if isinstance(found, type) else FIRST.get(kind, 0) :]
    section = options_of(kind, name)
    assert set(section.model_fields) - {"name"} == set(parameters) - GIVEN[kind]
    for key in set(section.model_fields) - {"name"}:
        default = inspect.signature(found).parameters[key].default
        assert section.model_fields[key].is_required() or section.model_fields[key].default == default


def _unbounded(annotation, metadata=()):
    """Numbers of an annotation that have no least or no largest value."""
    for each in metadata:
        metadata = (*metadata, *getattr(each, "metadata", ()))
    if get_origin(annotation) is Annotated:
        return _unbounded(annotation.__origin__, (*annotation.__metadata__, *metadata))
    if annotation in (int, float, complex, Any):
        bounds = [[getattr(each, name, None) for each in metadata] for name in ("ge", "gt", "le", "lt")]
        low, high = ([value for value in (*a, *b) if value is not None] for a, b in (bounds[:2], bounds[2:]))
        refused = annotation is Any and any(isinstance(each, BeforeValidator) for each in metadata)
        return [] if refused or (low and high and all(map(math.isfinite, (*low, *high)))) else [annotation]
    inner = () if get_origin(annotation) is Literal else get_args(annotation)
    return [found for each in inner if each is not Ellipsis for found in _unbounded(each)]


@pytest.mark.parametrize(("kind", "name"), OWN_PARTS)
def test_every_number_has_a_least_and_a_largest_value(kind, name):
    """Without them 1e30 reaches an allocation, and 2147483647 a loop."""
    fields = options_of(kind, name).model_fields
    assert {key: found for key, field in fields.items() if (found := _unbounded(field.annotation, tuple(field.metadata)))} == {}


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        *[("model", name, "mlp_ratio", 1e30) for name in ("fno", "physics_attention", "mesh_transformer")],
        ("model", "physics_attention", "dropout", 2.0),
        ("model", "physics_attention", "window", 2147483647),
        ("model", "mesh_graph_net", "steps", 2147483647),
        ("model", "mesh_graph_net", "hidden_layers", 2147483647),
        ("model", "graph_mixer", "hidden_layers", 2147483647),
        ("model", "particle_net", "steps", 2147483647),
        ("model", "mesh_transformer", "hops", [2147483647]),
        ("solver", "darcy", "source", "x"),
        ("solver", "darcy", "tolerance", 1e-300),
        ("solver", "projection", "tolerance", -1.0),
        ("optimiser", "lbfgs", "max_iter", 10**30),
        ("sampler", "breed", "max_oob_count", 2147483647),
        ("sampler", "difficulty", "candidates", 2147483647),
        ("sampler", "ogas", "steps", 2147483647),
        ("sampler", "residual", "pool", 2147483647),
    ],
)
def test_a_value_that_nothing_could_be_made_with_is_refused(kind, name, key, value):
    given = {"name": name, key: value} | ({"radius": 1.0} if name == "particle_net" else {})
    with pytest.raises(ConfigError, match=rf"^c: {key}[^\n]*expected"):
        check_config(given, options_of(kind, name), "c")


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
