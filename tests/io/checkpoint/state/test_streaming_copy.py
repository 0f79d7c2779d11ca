"""Copied by streaming stores or by the library of the array, the bytes are the same and nothing beside them changes."""

import numpy as np
import pytest
import torch

from hpcml.io.checkpoint.state import streaming_copy
from hpcml.io.checkpoint.state.streaming_copy import copy_all


@pytest.fixture(params=["streaming", "no compiler"])
def way(request, monkeypatch):
    if request.param == "no compiler":
        monkeypatch.setattr(streaming_copy, "streaming_function", lambda: None)
    elif streaming_copy.streaming_function() is None:
        pytest.skip("this machine has no C++ compiler to make the streaming copy with; the other way is tested")


@pytest.mark.parametrize("shift", [0, 1, 8, 63])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_any_alignment_and_length(way, shift, count):
    source = np.random.default_rng(0).integers(0, 256, count + shift, np.uint8)
    memory = np.full(count + 200, 7, np.uint8)
    copy_all([(memory[shift : shift + count], source[shift:])])
    assert np.array_equal(memory[shift : shift + count], source[shift:])
    assert (memory[:shift] == 7).all() and (memory[shift + count :] == 7).all()


def test_what_does_not_lie_as_it_is_meant_is_copied_by_its_meaning(way):
    numbers = torch.randn(6, 4, dtype=torch.complex64)
    sources = [numbers.T, numbers[::2], numbers.conj(), numbers.imag, numbers.conj().imag, numbers.real.double(), numbers[1:3]]
    targets = [torch.empty(source.shape, dtype=source.dtype) for source in sources]
    targets[5] = torch.empty(6, 4)  # another type
    copy_all(zip(targets, sources, strict=True))
    for target, source in zip(targets, sources, strict=True):
        assert torch.equal(target, source.to(target.dtype))
    slanted, plain = np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.empty((3, 4))
    copy_all([(plain, slanted)])
    assert np.array_equal(plain, slanted)


def test_a_compiler_that_fails_costs_speed_only(monkeypatch, tmp_path, caplog):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such thing >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("hpcml.kernels.shared_library.find_compiler", lambda: str(broken))
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    with caplog.at_level("INFO"):
        assert streaming_copy.streaming_function.__wrapped__() is None
    assert "no such thing" in caplog.text


def test_what_lies_on_a_gpu_travels_while_the_rest_is_copied(monkeypatch):
    class OnGpu(np.ndarray):
        is_cuda = True

    steps = []

    def begin(pairs):
        steps.append("begun")

        def finish():
            assert host.tolist() == [2.0] * 4  # copied meanwhile
            steps.append("finished")
            for target, source in pairs:
                target[:] = source

        return finish

    monkeypatch.setattr("hpcml.mpi.host_copy.begin_copies", begin)
    host, there = np.zeros(4), np.zeros(8)[::2]
    copy_all([(there, np.ones(8)[::2].view(OnGpu)), (host, np.full(4, 2.0))])
    assert steps == ["begun", "finished"] and there.tolist() == [1.0] * 4
