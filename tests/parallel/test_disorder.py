"""Every public call that communicates has its cases in the campaign `disorder`, or a reason why it has none; some of them run here."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import hpcml
from hpcml import Grid, decompose
from hpcml.core.errors import CommunicationError
from hpcml.io import UnstructuredGrid
from hpcml.mpi import agree_on_error
from hpcml.training.loss import mse
from tests.parallel.disorder import CALLS, Case, attempt
from tests.parallel.disordered_exempt import INSIDE, QUIET

PACKAGES = (
    *("data", "equations", "fields", "graphs", "io", "io.checkpoint", "io.dataset", "linear", "models", "models.layers", "mpi", "parallel"),
    *("solvers", "topology", "training"),
)
MODULES = "data", "equations", "fields", "graphs", "io", "linear", "models", "mpi", "parallel", "runs", "solvers", "topology", "training"


def exported():
    """Names that the packages offer."""
    return {name for package in PACKAGES for name in import_module(f"hpcml.{package}").__all__} | set(hpcml._HOMES)


def documented():
    """Public functions, classes and methods whose page says that they communicate, by module."""
    found = {}
    root = Path(hpcml.__file__).parent
    for path in sorted(p for package in MODULES for p in (root / package).rglob("*.py")):
        for name, page in pages(ast.parse(path.read_text())):
            _, section, text = page.partition("Communication\n-------------\n")
            if section and not text.startswith(("Local", "None")):
                found[name] = ".".join(path.relative_to(root).with_suffix("").parts)
    return found


def pages(tree, prefix=""):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                yield from pages(node, f"{node.name}.")


def covered(name, module=""):
    """Whether there are cases of it, of something that is part of it, or of what it is part of."""
    cases = {part for key in CALLS for part in (key, key.removeprefix("Domain."), key.partition(".")[0])}
    reasons = {name, *(module[: len(part)] for part in INSIDE if f"{module}.".startswith(f"{part}."))}
    return name in cases or bool(reasons & set(INSIDE))


def test_every_public_name_has_its_cases_or_a_reason_to_have_none():
    missing = sorted(name for name in exported() if not covered(name) and name not in QUIET)
    assert not missing, f"add cases for {missing} to tests/parallel/disordered_calls.py, or say in disordered_exempt.py why they need none"


def test_everything_that_communicates_has_its_cases_or_belongs_to_what_has():
    missing = sorted(f"{module}: {name}" for name, module in documented().items() if not covered(name, module))
    assert not missing, f"add cases for {missing} to tests/parallel/disordered_calls.py, or say in disordered_exempt.py what they belong to"


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize(
    "case",
    [("StopSignal.settle", "skip", 0, "forward"), ("divergence", "reorder", 0, "backward"), ("Dropout", "repeat", 0, "forward")],
    ids=lambda case: case[0],
)
def test_whoever_is_in_another_call_is_named(comm, monkeypatch, shared_path, case):
    monkeypatch.setenv("HPCML_PATIENCE_S", "60")  # and nobody needs it
    faults = comm.allgather(attempt(Case(*case), shared_path / "case", patience_s=60)[0])
    assert not any(faults), faults


@pytest.mark.parallel([2, 3])
def test_what_agrees_inside_is_told_apart_by_its_name(comm):
    with pytest.raises(CommunicationError, match=r"UnstructuredGrid\.joined"):
        if comm.rank == 0:
            UnstructuredGrid.joined(np.eye(3)[:, :2], {"triangle": np.array([[0, 1, 2]])}, comm)
        else:
            agree_on_error(None, comm)


def two_lines(domain, x, comm):
    """Rank 0 makes two calls of one function, the others the same in another order."""
    calls = [
        lambda: mse(domain, x, x + 1),
        lambda: mse(domain, x, x + 2),
    ]
    for call in calls if comm.rank == 0 else calls[::-1]:
        call()


@pytest.mark.parallel([2, 3])
def test_lines_are_compared_on_request_only(comm, monkeypatch):
    domain = decompose(Grid((8, 8)), comm)
    x = torch.ones(1, 1, *domain.local_shape)
    two_lines(domain, x, comm)
    monkeypatch.setattr("hpcml.mpi.call.compares_lines", lambda: True)
    with pytest.raises(CommunicationError, match=r"mse at test_disorder\.py:\d+ from test_disorder\.py:\d+"):
        two_lines(domain, x, comm)


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("backend", ["shared", "mpi"])
def test_lines_of_exchanges_are_compared_too(comm, monkeypatch, backend):
    monkeypatch.setenv("HPCML_HALO_BACKEND", backend)
    domain = decompose(Grid((8, 8)), comm)
    x = torch.ones(1, 1, *domain.local_shape)
    domain.halo(x)
    monkeypatch.setattr("hpcml.mpi.call.compares_lines", lambda: True)
    calls = [
        lambda: domain.halo(x),
        lambda: domain.halo(x),
    ]
    with pytest.raises(CommunicationError, match=r"Domain\.halo at test_disorder\.py"):
        calls[int(comm.rank == 0)]()


def test_a_whole_job_in_disorder_ends(mpiexec):
    script = Path(__file__).with_name("disordered_jobs.py")
    done = subprocess.run([sys.executable, script, "1"], env=mpiexec.env, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0 and "0 bad jobs of 1" in done.stdout, done.stdout + done.stderr
