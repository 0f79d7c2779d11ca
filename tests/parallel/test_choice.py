"""The back end of a message follows the environment, then what was measured here, then the usual."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.parallel.transport import choice
from hpcml.parallel.transport.tuned import Tuned, seconds, tuned, tuned_path

CPU, GPU = torch.device("cpu"), torch.device("cuda")
# MPI is quicker for small messages, shared memory for large ones; both lines cross at 4096 bytes.
CURVES = {"cpu": {"mpi": ((1024, 1e-6), (16384, 16e-6)), "shared": ((1024, 4e-6), (16384, 4e-6))}}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A machine on which `hpcml tune` has run."""
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    monkeypatch.delenv("HPCML_HALO_BACKEND", raising=False)
    Tuned(CURVES).save(tuned_path())
    tuned.cache_clear()
    yield
    tuned.cache_clear()


def test_times_are_interpolated_and_prolonged():
    curve = CURVES["cpu"]["mpi"]
    # Both axes are logarithmic, so a line of slope one stays one; powers of two leave a few units of round-off.
    assert [seconds(curve, n) for n in (1024, 4096, 32768)] == pytest.approx([1e-6, 4e-6, 32e-6], rel=1e-12)
    assert seconds(curve, 1) == pytest.approx(1e-6, rel=1e-12)  # a smaller message is not quicker than the smallest
    assert seconds(((64, 3e-6),), 1 << 20) == 3e-6


def test_what_was_measured_decides(measured):
    assert choice.choose_backend(2048, CPU, None) == "mpi"
    assert choice.choose_backend(8192, CPU, None) == "shared"
    assert choice.choose_backend(2048, CPU, "shared") == "shared"


@pytest.mark.parametrize("text", [None, "no JSON", '{"curves": 3}', '{"curves": {"cpu": {"mpi": [[1]]}}}'])
def test_without_a_table_that_can_be_read_shared_memory_is_first(measured, text):
    tuned_path().unlink() if text is None else tuned_path().write_text(text)
    tuned.cache_clear()
    assert choice.choose_backend(64, CPU, None) == "shared"


def test_what_cannot_be_gives_way(measured, monkeypatch):
    assert choice.choose_backend(choice.MOST_SHARED + 1, CPU, "shared") == "mpi"
    assert choice.choose_backend(64, CPU, "nccl") == "mpi"
    assert choice.choose_backend(64, GPU, "shared") == "shared" and choice.choose_backend(64, GPU, "datatype") == "staged"
    monkeypatch.setattr(choice, "gpu_aware", lambda: False)
    assert choice.choose_backend(64, GPU, "mpi") == "staged" and choice.choose_backend(64, GPU, None) == "one-shot"
    monkeypatch.setattr(choice, "gpu_aware", lambda: True)
    assert choice.choose_backend(64, GPU, "mpi") == "mpi" and choice.choose_backend(64, GPU, None) == "mpi"
    monkeypatch.setattr(choice, "move_functions", lambda: None)
    assert choice.choose_backend(64, CPU, "shared") == "mpi"


def test_datatypes_are_taken_only_where_they_were_measured_to_be_best(measured, monkeypatch):
    monkeypatch.setattr(choice, "datatypes_possible", lambda: True)
    assert choice.choose_backend(2048, CPU, None, in_place=True) == "mpi"  # not measured
    curves = CURVES["cpu"] | {"datatype": ((1024, 1e-7), (16384, 1e-7))}
    monkeypatch.setattr(choice, "tuned", lambda: Tuned({"cpu": curves}))
    assert choice.choose_backend(2048, CPU, None, in_place=True) == "datatype"
    assert choice.choose_backend(2048, CPU, None) == "mpi" and choice.choose_backend(2048, CPU, "datatype") == "mpi"
    assert choice.choose_backend(2048, CPU, "datatype", in_place=True) == "datatype"
    monkeypatch.setattr(choice, "datatypes_possible", lambda: False)
    assert choice.choose_backend(2048, CPU, None, in_place=True) == "mpi"
    with pytest.raises(ConfigError, match="MPICH"):
        choice.choose_backend(2048, CPU, "datatype", in_place=True)


def test_a_name_that_means_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("HPCML_HALO_BACKEND", "auto")
    assert choice.asked_backend() is None
    monkeypatch.setenv("HPCML_HALO_BACKEND", "pigeon")
    with pytest.raises(ConfigError, match="pigeon"):
        choice.asked_backend()
