"""All ranks come to one answer: the variable's, or what the library says and the probe confirms."""

import logging

import pytest

from hpcml.core.errors import ConfigError
from hpcml.mpi import gpu_aware
from hpcml.mpi.gpu_claim import Claim

TRIED = Claim(True, "tried"), True


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, shared_path):
    monkeypatch.setattr(gpu_aware, "_decided", [])
    monkeypatch.setenv("HPCML_CACHE", str(shared_path))
    monkeypatch.delenv("HPCML_GPU_AWARE_MPI", raising=False)
    gpu_aware._warn.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """``machine(claims, finds)``: a host with a GPU whose library claims and whose probe finds something; gives the probes made."""
    probes = []

    def build(claims, finds=TRIED):
        monkeypatch.setattr(gpu_aware, "has_gpu", lambda: True)
        monkeypatch.setattr(gpu_aware, "claim", lambda facts: Claim(claims, "said"))
        monkeypatch.setattr(gpu_aware, "probe", lambda: probes.append(1) or finds)
        return probes

    return build


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False)])
def test_the_variable_decides_without_a_probe(comm, monkeypatch, machine, value, expected):
    monkeypatch.setenv("HPCML_GPU_AWARE_MPI", value)
    probes = machine(not expected)
    assert gpu_aware.gpu_aware() is expected  # before the ranks have met, too
    assert gpu_aware.decide(comm) == Claim(expected, f"HPCML_GPU_AWARE_MPI={value}")
    assert gpu_aware.gpu_aware() is expected and not probes


def test_another_value_is_named(monkeypatch):
    monkeypatch.setenv("HPCML_GPU_AWARE_MPI", "yes")
    with pytest.raises(ConfigError, match="'yes': expected auto, 1 or 0"):
        gpu_aware.gpu_aware()


@pytest.mark.parallel([1, 2, 3])
def test_a_yes_is_probed_by_one_rank_of_the_node_and_kept(comm, machine):
    probes = machine(True)
    for _ in range(2):
        assert gpu_aware.decide(comm) == Claim(True, "said; tried")
    assert gpu_aware.gpu_aware()
    assert comm.allreduce(len(probes)) == 1


@pytest.mark.parallel([1, 2, 3])
def test_a_probe_that_fails_is_a_no_on_every_rank(comm, machine):
    probes = machine(True, (Claim(False, "crashed"), True))
    assert gpu_aware.decide(comm) == Claim(False, "said; crashed")
    assert not gpu_aware.gpu_aware()
    assert gpu_aware.decide(comm).answer is False and comm.allreduce(len(probes)) == 1


@pytest.mark.parallel([1, 2])
def test_a_probe_without_an_answer_is_made_again(comm, machine):
    probes = machine(True, (Claim(False, "too slow"), False))
    for _ in range(2):
        assert gpu_aware.decide(comm) == Claim(False, "said; too slow")
    assert comm.allreduce(len(probes)) == 2


@pytest.mark.parallel([1, 2, 3])
def test_one_rank_that_says_no_is_enough(comm, machine, monkeypatch):
    probes = machine(True)
    last = comm.rank == comm.size - 1
    monkeypatch.setattr(gpu_aware, "claim", lambda facts: Claim(not last, f"rank {comm.rank}"))
    assert gpu_aware.decide(comm) == Claim(False, f"rank {comm.size - 1}")
    assert not probes


@pytest.mark.parallel([1, 2])
def test_a_job_without_a_gpu_asks_nobody(comm, machine, monkeypatch):
    probes = machine(True)
    monkeypatch.setattr(gpu_aware, "has_gpu", lambda: False)
    assert gpu_aware.decide(comm) == Claim(False, "no rank has a GPU")
    assert not probes


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_is_hidden_is_none(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert not gpu_aware.has_gpu()


def test_staging_is_said_once(caplog):
    with caplog.at_level(logging.WARNING, logger="hpcml"):
        assert [gpu_aware.gpu_aware() for _ in range(3)] == [False] * 3
    assert [record.message for record in caplog.records] == [
        "GPU memory is staged through the host for MPI: hpcml.mpi.world() was not called yet"
    ]


def test_info_says_what_a_job_would_decide(machine, monkeypatch):
    machine(True)
    monkeypatch.setattr(gpu_aware, "ask", lambda: Claim(True, "said"))
    assert gpu_aware.describe() == Claim(True, "said; tried")
    monkeypatch.setattr(gpu_aware, "has_gpu", lambda: False)
    assert gpu_aware.describe() == Claim(False, "said; but no GPU is here")
    monkeypatch.setattr(gpu_aware, "ask", lambda: Claim(False, "never"))
    assert gpu_aware.describe() == Claim(False, "never")
    monkeypatch.setenv("HPCML_GPU_AWARE_MPI", "1")
    assert gpu_aware.describe().answer
