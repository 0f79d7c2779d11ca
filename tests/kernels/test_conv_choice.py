"""Where a convolution runs is what was measured, for whatever processor and flags, and stays so for a run."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.kernels import conv_choice, ways
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.conv_choice import GAIN, NONE, TORCH, ConvChoice, chosen, measure

RATIOS = {
    "forward": {"float32": {"512": {"1": 1.7, "4": 1.2, "8": 0.95}, "2048": {"1": 1.2, "4": 0.8, "8": 0.5, "16": 0.88, "32": 1.1}}},
    "backward": {"float32": {"512": {"4": 0.7, "8": 1.1, "16": 0.6, "32": 0.6}}, "float64": {"2048": {"8": 1.2}}},
    "flipped": {"float32": {"512": {"8": 1.4}}},
    "flipped_3d": {"float32": {"2048": {"1": 0.8, "4": 0.6}}},
}


@pytest.fixture
def measured(monkeypatch):
    """A processor on which those are measured, before anything is taken."""
    monkeypatch.setattr(ways, "_TAKEN", {})
    monkeypatch.setattr(conv_choice, "measured_way", lambda *_: RATIOS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def test_the_channels_are_taken_between_which_a_way_was_faster_by_a_tenth():
    ranges = chosen(RATIOS, threads=1)["channels"]
    assert ranges["forward"] == {"float32": {"512": NONE, "2048": (4, 16)}}
    assert ranges["backward"]["float32"] == {"512": (16, 32)}
    # Of two threads torch may make full use.
    assert chosen(RATIOS, threads=2)["channels"]["forward"]["float32"]["2048"] == NONE


@pytest.mark.parallel([1, 2])
def test_what_was_measured_on_half_of_a_field_counts(comm, measured):
    """Not what was measured on a larger one, where the kernel gains more: a field of 32 x 32 went the slower way."""
    four = torch.empty(4, 4, 3, 3)
    assert not conv_choice.conv_choice(comm, (32, 32)).takes("forward", four)
    assert conv_choice.conv_choice(comm, (64, 64)).takes("forward", four)
    assert conv_choice.conv_choice(comm, (512, 512)).takes("forward", four)
    assert not conv_choice.conv_choice(comm, (8, 8)).takes("backward", torch.empty(16, 16, 3, 3))


@pytest.mark.parallel([1, 2])
def test_only_dims_that_were_measured_have_a_choice(comm, measured):
    assert conv_choice.conv_choice(comm, (8192,)) == TORCH
    deep = conv_choice.conv_choice(comm, (16, 16, 32))
    assert deep.takes("flipped", torch.empty(4, 4, 3, 3, 3)) and not deep.takes("forward", torch.empty(4, 4, 3, 3, 3))
    assert not conv_choice.conv_choice(comm, (64, 64)).takes("flipped", torch.empty(8, 8, 3, 3))


def test_a_choice_looks_at_channels_and_dtype_of_the_weight_alone():
    choice = ConvChoice({"float32": (4, 16)}, {}, {"float32": (4, 8)})
    few, many = torch.empty(8, 16, 3, 3), torch.empty(8, 17, 3, 3)
    assert choice.takes("forward", few) and not choice.takes("forward", many)
    assert not choice.takes("forward", few.double()) and not choice.takes("backward", few)
    assert not choice.takes("forward", torch.empty(1, 16, 3, 3)) and not choice.takes("flipped", few)
    assert not any(TORCH.takes(way, few) for way in ("forward", "backward", "flipped"))


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_many_channels_are_not_tried_after_some_did_not_gain(monkeypatch):
    monkeypatch.setattr(conv_choice, "_race", lambda way, others: 0.5 if len(others) == 1 else 2.0)
    found = measure()
    assert list(found["forward"]["float32"]["512"].values()) == [0.5] * len(conv_choice.CHANNELS)
    assert list(found["backward"]["float64"]["4096"]) == ["1", "4", "8", "16"]


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_every_way_runs(monkeypatch):
    monkeypatch.setattr(conv_choice, "CHANNELS", (2,))
    threads = torch.get_num_threads()
    found = measure()
    assert all(ratio > 0 for of in found.values() for sizes in of.values() for ratios in sizes.values() for ratio in ratios.values())
    assert set(found) == {"forward", "backward", "flipped", "flipped_3d"} and torch.get_num_threads() == threads and 0 < GAIN < 1


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("record", [{}, {"channels": {"sideways": {}}}, {"channels": {"forward": 3}}, [1]], ids=str)
def test_a_record_that_means_nothing_is_refused_on_all_ranks(comm, record, measured):
    ways.take_ways({conv_choice.NAME: record} if comm.rank == 0 else {})
    with pytest.raises(ConfigError, match="recorded in ways.json means nothing"):
        conv_choice.conv_choice(comm, (64, 64))
