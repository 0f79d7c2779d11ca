"""A name is one of hpcml's, one of an installed package, or module:name; each mistake is told for what it is."""

import sys

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.registry import BUILT_IN, known, load, target_of


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in BUILT_IN.items() for name in names if name != "soap"])
def test_what_hpcml_names_is_there(kind, name):
    assert callable(load(kind, name))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with modules in it; what they leave in the interpreter goes again."""
    (tmp_path / "own_parts.py").write_text("class Net: ...\nnumber = 3\n")
    (tmp_path / "own_broken.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    yield tmp_path
    for name in ("own_parts", "own_broken"):
        sys.modules.pop(name, None)


def test_a_module_of_the_current_folder_is_found(folder):
    assert load("model", "own_parts:Net").__name__ == "Net"


@pytest.mark.parametrize(("mode", "stays"), [(0o755, True), (0o777, False)])
def test_the_current_folder_is_searched_for_nothing_else_where_others_can_write(folder, mode, stays):
    """A package that is not installed would be taken from there: a `tensorboard.py` of another user, for one."""
    folder.chmod(mode)
    load("loss", "mse")
    assert "" not in sys.path
    assert load("model", "own_parts:Net").__name__ == "Net"
    assert ("" in sys.path) == stays


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fnoo", f"expected one of {', '.join(map(repr, known('model')))}, or 'module:name' of a model of your own, got 'fnoo'"),
        ("own_parts:", "'module:name'"),
        ("own parts:Net", "'module:name'"),
        ("nowhere:Net", "there is no module 'nowhere': install it"),
        ("own_parts:Nett", "own_parts has no 'Nett'"),
        ("own_parts:number", "is int 3, not a class or a function"),
        ("own_broken:Net", "importing own_broken failed: No module named 'nowhere_to_be_found'"),
    ],
)
def test_what_is_not_there_is_told(folder, name, words):
    with pytest.raises(ConfigError) as caught:
        load("model", name)
    assert words in str(caught.value)


def test_a_package_registers_by_entry_points(tmp_path, monkeypatch):
    info = tmp_path / "third-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpcml.model]\nresnet = third.nets:ResNet\nfno = third.nets:Other\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert target_of("model", "resnet") == "third.nets:ResNet"
    assert known("model")["fno"] == BUILT_IN["model"]["fno"]  # nobody takes hpcml's own names
