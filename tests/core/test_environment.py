"""What a run was made with is written down, secrets are not."""

import subprocess
import sys
from pathlib import Path

import numpy
import torch

import hpcml
from hpcml.core import environment
from hpcml.core.environment import capture_environment


def test_versions_are_those_of_the_imported_packages():
    packages = capture_environment()["packages"]
    assert (packages["numpy"], packages["torch"]) == (numpy.__version__, torch.__version__)


def test_variables_of_the_job_are_kept_without_secrets(monkeypatch):
    for name in ("SLURM_JOB_ID", "OMP_NUM_THREADS", "HPCML_TOKEN", "SLURM_JWT", "HOME_SWEET_HOME"):
        monkeypatch.setenv(name, "1")
    variables = capture_environment()["variables"]
    assert {"SLURM_JOB_ID", "OMP_NUM_THREADS"} <= set(variables)
    assert not {"HPCML_TOKEN", "SLURM_JWT", "HOME_SWEET_HOME"} & set(variables)


def test_the_revision_says_whether_the_checkout_was_changed(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e@x")
        return subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "hpcml"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert environment._revision(package) == {}
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    assert environment._revision(package) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (package / "__init__.py").write_text("changed = True")
    assert environment._revision(package)["dirty"] is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._revision(package) == {}


def test_capturing_imports_nothing_heavy():
    heavy = {"torch", "mpi4py", "cupy", "numpy"}
    code = f"import sys; from hpcml.core.environment import *; capture_environment(); print({heavy} & {{*sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], cwd=Path(hpcml.__file__).parents[1], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "set()"
