"""Where a convolution runs is what was measured, for whatever processor and flags, and stays so for a run."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.kernels import conv_choice, ways
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.conv_choice import GAIN, TORCH, ConvChoice, chosen, measure

RATIOS = {
    "forward": {"float32": {"8": 0.5, "16": 0.88, "32": 1.1}, "float64": {"8": 0.3, "16": 0.4}},
    "backward": {"float32": {"8": 0.4, "16": 0.95}, "float64": {"8": 1.2}},
    "flipped": {"float32": {"8": 0.6}, "float64": {"8": 1.0}},
}


def test_few_channels_go_the_way_that_was_faster_by_a_tenth():
    choice = ConvChoice(**chosen(RATIOS, threads=1)["most_channels"])
    assert choice.forward == {"float32": 16, "float64": 16}
    assert choice.backward == {"float32": 8, "float64": 0}
    assert choice.flipped == {"float32": 8, "float64": 0}
    # Of two threads torch may make full use.
    assert chosen(RATIOS, threads=2)["most_channels"]["forward"] == {"float32": 0, "float64": 16}


def test_a_choice_looks_at_channels_and_dtype_of_the_weight_alone():
    choice = ConvChoice({"float32": 16}, {}, {"float32": 8})
    few, many = torch.empty(8, 16, 3, 3), torch.empty(8, 17, 3, 3)
    assert choice.takes("forward", few) and not choice.takes("forward", many)
    assert not choice.takes("forward", few.double()) and not choice.takes("backward", few)
    assert choice.takes("flipped", many) and not choice.takes("flipped", torch.empty(9, 2, 3, 3))
    assert not any(TORCH.takes(way, few) for way in ("forward", "backward", "flipped"))


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_a_measurement_goes_on_until_torch_is_as_fast(monkeypatch):
    monkeypatch.setattr(conv_choice, "CHANNELS", (2, 4, 8))
    monkeypatch.setattr(conv_choice, "_race", lambda way, others: 0.5 if len(others) == 1 else 2.0)
    assert measure()["forward"]["float32"] == {"2": 0.5, "4": 0.5, "8": 0.5}
    assert measure()["backward"] == {"float32": {"2": 2.0}, "float64": {"2": 2.0}}


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_every_way_runs(monkeypatch):
    monkeypatch.setattr(conv_choice, "CHANNELS", (2,))
    threads = torch.get_num_threads()
    found = measure()
    assert all(ratio > 0 for of in found.values() for ratios in of.values() for ratio in ratios.values()) and 0 < GAIN < 1
    assert set(found) == {"forward", "backward", "flipped"} and torch.get_num_threads() == threads


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("record", [{}, {"most_channels": {"sideways": {}}}, {"most_channels": {"forward": 3}}, [1]], ids=str)
def test_a_record_that_means_nothing_is_refused_on_all_ranks(comm, record, monkeypatch):
    monkeypatch.setattr(ways, "_TAKEN", {})
    ways.take_ways({conv_choice.NAME: record} if comm.rank == 0 else {})
    monkeypatch.setattr(conv_choice, "measured_way", lambda *_: RATIOS)
    with pytest.raises(ConfigError, match="recorded in ways.json means nothing"):
        conv_choice.conv_choice(comm)
