"""The house keeps its rules: imports point downwards, files stay small, style and types hold, and importing hpcml costs nothing."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "hpcml").rglob("*.py"))
HEAVY = {"mpi4py", "torch", "cupy"}
MOST_LINES = 300
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "experimental", "legacy"}


def _run(*words):
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_packages_import_downwards_only():
    _run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])")


def test_ruff_accepts_every_file():
    _run("-m", "ruff", "check", "--no-cache", ".")


def test_mypy_accepts_the_package():
    _run("-m", "mypy")


COMMANDS = [f"from hpcml.cli.main import main; main({words})" for words in (["config", "schema"], ["job", "sites"])]


@pytest.mark.parametrize("words", ["import hpcml", *COMMANDS, "--help"])
def test_what_a_login_node_runs_loads_no_mpi_and_no_torch(words):
    code = words if words != "--help" else "from hpcml.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = _run("-c", f"{code}\nimport sys; print('LOADED', *sys.modules)").rpartition("LOADED ")[2].split()
    assert "hpcml" in loaded and not HEAVY & {name.partition(".")[0] for name in loaded}


def test_help_is_instant():
    def seconds():
        start = time.perf_counter()
        _run("-m", "hpcml", "--help")
        return time.perf_counter() - start

    # 0.3 s is what a user takes for instant; 0.06 s was measured on two cores. The best of several is what the command needs when the
    # machine does nothing else.
    assert min(seconds() for _ in range(7)) < 0.3


def test_public_names_and_packages_load_on_first_use():
    names = _run("-c", "import hpcml; print(*(n for n in dir(hpcml) if getattr(hpcml, n) is not None))").split()
    assert {path.parent.name for path in (ROOT / "hpcml").glob("*/__init__.py")} | {"Grid", "decompose"} <= set(names)


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


@pytest.mark.timeout(900)  # half a minute on a quiet machine
def test_the_documentation_builds_without_a_warning(tmp_path):
    _run("-m", "sphinx", "-W", "-q", "-E", "docs", str(tmp_path))
