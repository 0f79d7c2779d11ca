"""The house keeps its rules: imports point downwards, files stay small, style and types hold, and importing hpcml costs nothing."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "hpcml").rglob("*.py"))
HEAVY = {"mpi4py", "torch", "cupy"}
MOST_LINES = 300
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "experimental", "legacy"}


def _run(*words):
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_packages_import_downwards_only():
    _run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])")


def test_ruff_accepts_every_file():
    _run("-m", "ruff", "check", "--no-cache", ".")


@pytest.mark.timeout(900)  # half a minute on a quiet machine, whose cores nobody else wants
def test_mypy_accepts_the_package():
    _run("-m", "mypy")


def test_one_function_reads_json():
    """Nested lists end Python's own in an error that no reader expects."""
    readers = [str(path.relative_to(ROOT)) for path in PACKAGE if re.search(r"\bjson\.loads?\b", path.read_text())]
    assert readers == ["hpcml/core/json_text.py"]


COMMANDS = [f"from hpcml.cli.main import main; main({words})" for words in (["config", "schema"], ["job", "sites"])]


@pytest.mark.parametrize("words", ["import hpcml", *COMMANDS, "--help"])
def test_what_a_login_node_runs_loads_no_mpi_and_no_torch(words):
    code = words if words != "--help" else "from hpcml.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = _run("-c", f"{code}\nimport sys; print('LOADED', *sys.modules)").rpartition("LOADED ")[2].split()
    assert "hpcml" in loaded and not HEAVY & {name.partition(".")[0] for name in loaded}


def test_help_is_instant():
    def seconds(*words):
        """Least of the processor: what others do at the same time is not counted."""
        taken = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            _run(*words)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(taken)

    # A user takes 0.3 s for instant, and Python itself needs 0.02 s to start on two quiet cores.
    assert seconds("-m", "hpcml", "--help") < 15 * seconds("-c", "pass")


def test_public_names_and_packages_load_on_first_use():
    names = _run("-c", "import hpcml; print(*(n for n in dir(hpcml) if getattr(hpcml, n) is not None))").split()
    assert {path.parent.name for path in (ROOT / "hpcml").glob("*/__init__.py")} | {"Grid", "decompose"} <= set(names)


def test_a_public_name_is_not_hidden_by_a_module_of_its_name():
    code = """
import importlib, pathlib, sys
for folder in pathlib.Path("hpcml").rglob("__init__.py"):
    package = importlib.import_module(".".join(folder.parent.parts))
    for name in getattr(package, "__all__", []):
        if (folder.parent / f"{name}.py").exists():
            importlib.import_module(f"{package.__name__}.{name}")
            assert callable(getattr(package, name)), f"{package.__name__}.{name} is a module once that is imported"
"""
    _run("-c", code)


def test_an_unknown_name_lists_the_known_ones():
    import hpcml

    with pytest.raises(AttributeError, match=r"no 'Gird'; it has .*Grid"):
        _ = hpcml.Gird


@pytest.mark.parametrize("path", PACKAGE, ids=[str(path.relative_to(ROOT)) for path in PACKAGE])
def test_a_file_holds_one_concept_that_fits_in_a_head(path):
    assert path.stem not in DRAWERS and path.parent.name not in DRAWERS
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_every_tested_file_exists():
    """tests/ mirrors hpcml/: a test that stands nowhere in the package tests something that moved."""
    free = {"validation", "examples", "jobs"}
    strays = []
    for test in (ROOT / "tests").rglob("test_*.py"):
        folder = test.parent.relative_to(ROOT / "tests")
        if folder.parts and folder.parts[0] not in free and not (ROOT / "hpcml" / folder).is_dir():
            strays.append(str(test))
    assert strays == []


@pytest.mark.timeout(900)  # a quarter of a minute on a quiet machine
def test_the_documentation_builds_without_a_warning_and_is_read_without_a_network(tmp_path):
    import hpcml

    _run("-m", "sphinx", "-W", "-q", "-E", "docs", str(tmp_path))
    pages = {path.relative_to(tmp_path).with_suffix("").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    fetched = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//')
    assert [page for page, text in pages.items() if fetched.search(text)] == []
    assert pages["explanation/adjoints"].count("<math") > 20  # drawn by the browser itself
    for page, name in [*(("hpcml", f"hpcml.{name}") for name in hpcml._HOMES), ("training", "hpcml.training.Trainer")]:
        assert f'id="{name}"' in pages[f"reference/api/{page}"]
