"""What a run was made with is written down, secrets are not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

import hpcml
from hpcml.core import environment
from hpcml.core.environment import capture_environment


def test_versions_are_those_of_the_imported_packages():
    packages = capture_environment()["packages"]
    assert (packages["numpy"], packages["torch"]) == (numpy.__version__, torch.__version__)


def test_variables_of_a_list_are_kept_and_no_others(monkeypatch):
    kept = ("SLURM_JOB_ID", "OMP_NUM_THREADS", "UCX_TLS", "OMPI_MCA_pml", "HPCML_HALO_BACKEND", "LC_ALL")
    secret = (
        "HPCML_TOKEN",
        "SLURM_JWT",
        "HPCML_DB_PASS",
        "HPCML_CREDENTIALS",
        "UCX_PWD",
        "OMPI_MCA_my_auth",
        "SLURM_JOB_COMMENT",
        "HOME_X",
    )
    for name in (*kept, *secret):
        monkeypatch.setenv(name, f"value of {name}")
    captured = capture_environment()
    assert set(kept) <= set(captured["variables"])
    assert not any(name in json.dumps(captured) for name in secret)


@pytest.mark.parametrize("line, kept", [
    (["/opt/bin/hpcml", "train", "case.toml", "--set", "data.path=s3://key:secret@host"], ["hpcml", "train"]),
    (["/opt/hpcml/__main__.py", "rollout", "runs/secret"], ["hpcml", "rollout"]),
    (["/home/me/train.py", "--api-key=secret"], ["train.py"]),
    (["-c", "secret"], ["-c"]),
    ([""], [""]),
])  # fmt: skip
def test_of_the_command_line_the_command_is_kept(line, kept, monkeypatch):
    monkeypatch.setattr(sys, "argv", line)
    captured = capture_environment()
    assert captured["command"] == kept and "secret" not in json.dumps(captured)


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
