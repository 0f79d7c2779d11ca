"""A way is measured once, agreed on by all ranks, and taken again by whoever goes on with the run."""

import json

import pytest

from hpcml.kernels import ways
from hpcml.kernels.ways import agreed_way, known_way, measured_way, take_ways, taken_ways


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch):
    monkeypatch.setattr(ways, "_TAKEN", {})


def test_a_measurement_is_made_once_for_a_compiler_and_its_flags(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    counts = iter(range(10))
    assert known_way("race", "conv") is None
    assert [measured_way("race", "conv", lambda: next(counts)) for _ in range(3)] == [0, 0, 0] and known_way("race", "conv") == 0
    monkeypatch.setenv("HPCML_CXXFLAGS", "-mprefer-vector-width=256")
    assert known_way("race", "conv") is None and measured_way("race", "conv", lambda: next(counts)) == 1
    monkeypatch.setenv("HPCML_KERNELS", "twin")  # nothing that is found without kernels holds with them
    assert known_way("race", "conv") is None


@pytest.mark.parallel([1, 2])
def test_all_ranks_go_the_way_of_the_first(comm):
    assert agreed_way("race", lambda: {"found by": comm.rank}, comm) == {"found by": 0}
    take_ways({"race": "recorded"} if comm.rank == 0 else {})
    assert agreed_way("race", lambda: "found anew", comm) == "recorded"
    assert taken_ways() == {"race": "recorded"} and json.dumps(taken_ways())
