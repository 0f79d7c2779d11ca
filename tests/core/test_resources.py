"""CUDA sources and job templates are found from a plain checkout, from an editable install and from a wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hpcml.core.errors import HpcmlError
from hpcml.core.resources import resource_path

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name for folder in ("kernels", "jobs") for path in (ROOT / folder).rglob("*.*"))
LOOK = """
from hpcml.core.resources import resource_path
folders = [resource_path("kernels"), resource_path("jobs")]
print(*folders)
print(*sorted(path.name for folder in folders for path in folder.rglob("*.*")))
"""


def _look(*path):
    """Folders and names that a fresh interpreter finds with nothing but the given places on its path."""
    code = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n{LOOK}"
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True).stdout
    folders, names = out.splitlines()
    return folders.split(), names.split()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is needed to build, so that building leaves nothing behind here."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("hpcml", "kernels", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _pip(*words):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *words, "--no-deps", "--no-build-isolation", "--no-index"], check=True, timeout=300)


def test_a_plain_checkout(checkout):
    assert _look(checkout) == ([str(checkout / "kernels"), str(checkout / "jobs")], NAMES)


def test_an_editable_install(checkout, tmp_path):
    _pip("install", "--target", tmp_path, "--editable", checkout)
    finder = "".join(line for path in tmp_path.glob("__editable__*.pth") for line in path.read_text().splitlines())
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; exec({finder!r})\n{LOOK}"
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert out == [f"{checkout / 'kernels'} {checkout / 'jobs'}", " ".join(NAMES)]


def test_a_wheel(checkout, tmp_path):
    _pip("wheel", "--wheel-dir", tmp_path, checkout)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    package = tmp_path / "site" / "hpcml"
    assert _look(tmp_path / "site") == ([str(package / "_kernels"), str(package / "_jobs")], NAMES)
    assert (tmp_path / "site" / "hpcml" / "py.typed").exists()
    assert (tmp_path / "site" / "hpcml" / "CITATION.cff").read_bytes() == (ROOT / "CITATION.cff").read_bytes()
    shipped = {path.relative_to(tmp_path / "site") for path in package.rglob("*")}
    left_out = {
        path.relative_to(checkout) for end in ("py", "cpp", "h", "f90") for path in (checkout / "hpcml").rglob(f"*.{end}")
    } - shipped
    assert not left_out, f"not in the wheel, for want of an __init__.py or of a line in setup.cfg: {sorted(map(str, left_out))}"


def test_a_missing_resource_is_named_with_the_places(tmp_path):
    with pytest.raises(HpcmlError, match=rf"nothing\.cu.*{tmp_path}/hpcml/_kernels/nothing\.cu.*{tmp_path}/kernels/nothing\.cu"):
        resource_path("kernels", "nothing.cu", package=tmp_path / "hpcml")
