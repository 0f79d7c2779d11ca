"""What training, held-out sets, evaluation and roll-outs use together means the same: in any order, and never by position or shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpcml.core import case
from hpcml.core.errors import ConfigError, TopologyError
from hpcml.core.named import complete_config
from hpcml.io.dataset import Description, Field, Meaning, create_dataset
from hpcml.runs.evaluation import evaluate
from hpcml.runs.experiment import open_experiment
from hpcml.runs.held_out import open_held_out
from hpcml.runs.truth import held_out_truth

CELLS = (8, 6)
U, V, BED = Field("u", unit="m"), Field("v", unit="s"), Field("bed", varies_in_time=False)


def centres(shape=CELLS, extent=(1.0, 0.75), start=0.0):
    return tuple(tuple(start + (i + 0.5) * length / n for i in range(n)) for n, length in zip(shape, extent, strict=True))


def base(**changes):
    space = Description("demo", (U, V, BED), 2, (0.0, 0.25, 0.5, 0.75, 1.0), centres(), (True, False), time_unit="s", length_unit="m")
    return replace(space, **changes)


def value(name, trajectory, time, x, y):
    """Of a field at a place and a time, whatever the file says of them."""
    phase = {"u": 0.3, "v": 1.1, "bed": 2.0}.get(name, 5.0)
    return np.sin(6.3 * x + phase + trajectory) * np.cos(4 * y + (0 if name == "bed" else time)) + 1.5


def written(path, space, layout="the-well", flipped=False):
    """A dataset of these values; ``flipped`` has x from high to low."""
    with create_dataset(path, layout, space) as dataset:
        x, y = np.meshgrid(*dataset.description.coordinates, indexing="ij")
        for trajectory in range(space.num_trajectories):
            rows = [np.stack([value(name, trajectory, time, x, y) for name in space.channels]) for time in space.times]
            dataset.write(trajectory, 0, np.stack(rows).astype("f4"))
    return str(path)


def case_of(path, *test, stride=1, **tables):
    data = {"kind": "dataset", "path": path, "test": list(test), "stride": stride, "inputs": ["u", "v"], "targets": ["u", "v"]}
    model = {"name": "fno", "channels": 2, "modes": 2, "layers": 1}
    return complete_config({"data": data, "model": model, "training": {"dtype": "float64"}} | tables, case.Case, "test")


def error_on(spec, path, comm, tmp_path):
    """Of an untrained model, which the case makes alike each time."""
    with open_experiment(spec, comm).space:
        experiment = open_experiment(spec, comm)
        held_out = open_held_out(spec, [path], experiment.train.meaning, case.Ranks(), comm)
        return evaluate(spec, held_out, experiment.surrogate().state_dict(), tmp_path, comm)[path]


OTHERS = {
    "names": ({"fields": (replace(U, name="w"), V, BED)}, "it has no field u but w, v, bed"),
    "unit": ({"fields": (replace(U, unit="ft"), V, BED)}, "the unit of u should be m, got ft"),
    "tensor order": ({"fields": (replace(U, order=1), V, BED)}, "the tensor order of u should be 0, got 1"),
    "box": ({"coordinates": centres(extent=(1.0, 0.8))}, "the box along y should be 0 to 0.75, got 0 to 0.8"),
    "place": ({"coordinates": centres(start=1.0)}, "the box along x should be 0 to 1, got 1 to 2"),
    "box at another resolution": ({"coordinates": centres((16, 12), (2.0, 0.75))}, "the box along x should be 0 to 1, got 0 to 2"),
    "uneven cells": ({"coordinates": ((0.1, 0.2, 0.5, 0.9, 1.4, 2.0), centres()[1])}, "along x lie at 0.1, 0.2, .* not equally far apart"),
    "step": ({"times": (0.0, 12.5, 25.0)}, "the time from input to target should be 0.25, got 12.5"),
    "step in between": ({"times": (0.0, 0.1, 0.2)}, "the time from input to target should be 0.25, got 0.2"),
    "uneven times": ({"times": (0.0, 0.25, 0.5, 1.0)}, "the times 0, 0.25, 0.5, 1 .* do not ascend in equal steps"),
    "unit of time": ({"time_unit": "h"}, "the unit of time should be s, got h"),
    "unit of length": ({"length_unit": "km"}, "the unit of x should be m, got km"),
    "boundary": ({"periodic": (True, True)}, "the boundary along y should be wall, got periodic"),
    "open boundary": ({"boundaries": ("", "open")}, "the boundary along y should be wall, got open"),
    "dims": ({"dims": ("y", "x")}, "the dims should be x, y, got y, x"),
    "number of dims": ({"coordinates": centres()[:1], "periodic": (True,)}, "the dims should be x, y, got x"),
    "no trajectories": ({"num_trajectories": 0}, "is empty: it holds 0 trajectories"),
    "too few times": ({"times": (0.0,)}, "the time from input to target should be 0.25, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("use", ["held out", "evaluation", "roll-out"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_meaning_is_refused_before_anything_is_computed(name, use, tmp_path, comm):
    changes, message = OTHERS[name]
    train, other = written(tmp_path / "train.hdf5", base()), tmp_path / "other.hdf5"
    create_dataset(other, "the-well", base(**changes)).close()
    meaning = Meaning.of_pairs(base(), ["u", "v"], ["u", "v"], 1, train)
    with pytest.raises(ConfigError, match=f"^{other}.*{message}"):
        if use == "held out":
            open_experiment(case_of(train, str(other)), comm)
        elif use == "evaluation":
            open_held_out(case_of(train), [str(other)], meaning, case.Ranks(), comm)
        else:
            held_out_truth(case_of(train, str(other)), comm, 1, None, meaning)


SAME = {
    "fields in another order": {"fields": (BED, V, U)},
    "one field more": {"fields": (U, Field("w"), V, BED)},
    "another name": {"name": "other"},
    "twice as many times": {"times": tuple(i / 8 for i in range(9))},
    "what is not said": {"fields": (Field("u"), Field("v"), BED), "periodic": (None, None), "time_unit": "", "length_unit": ""},
}


@pytest.mark.parametrize("layout, suffix", [("the-well", ".hdf5"), ("pdebench-groups", ".h5")])
@pytest.mark.parametrize("name", SAME)
def test_the_same_meaning_in_other_words_gives_the_same_error(name, layout, suffix, tmp_path, comm):
    space = replace(base(), fields=(U, V)) if layout != "the-well" else base()
    other = replace(space, **SAME[name])
    if layout != "the-well":
        other = replace(other, fields=tuple(entry for entry in other.fields if entry.varies_in_time))
    train, like = written(tmp_path / "train.hdf5", base()), written(tmp_path / f"like{suffix}", space, layout)
    expected = error_on(case_of(train), like, comm, tmp_path)
    found = error_on(case_of(train), written(tmp_path / f"other{suffix}", other, layout), comm, tmp_path)
    if name == "twice as many times":  # pairs of every second time, 7 of a trajectory instead of 4
        assert found == pytest.approx(expected, rel=0.2) and found != expected
    else:
        assert found == expected


def test_a_later_beginning_is_the_same_meaning(tmp_path, comm):
    train = written(tmp_path / "train.hdf5", base())
    later = open_held_out(
        case_of(train), [written(tmp_path / "b.hdf5", base(times=(5.0, 5.25, 5.5)))], open_experiment(case_of(train), comm).train.meaning,
        case.Ranks(), comm,
    )  # fmt: skip
    assert [pairs.num_samples for pairs in later.values()] == [4]


@pytest.mark.parallel([1, 2])
def test_a_finer_grid_of_the_same_box_is_measured_and_rolled_out(comm, shared_path):
    if comm.rank == 0:
        written(shared_path / "train.hdf5", base())
        written(shared_path / "fine.hdf5", base(coordinates=centres((16, 12)), periodic=(None, None)))
    comm.Barrier()
    spec = case_of(str(shared_path / "train.hdf5"), str(shared_path / "fine.hdf5"))
    experiment = open_experiment(spec, comm)
    (fine,) = experiment.held_out.values()
    assert fine.domain.grid.shape == (16, 12) and fine.domain.grid.periodic == (True, False)  # as training says, for the file does not
    truth = held_out_truth(spec, comm, 4, 1, experiment.train.meaning)
    assert [tuple(state.shape[:2]) for state in truth.states] == [(1, 2)] * 5 and truth.times[-1] == 1.0


def test_a_model_that_cannot_be_at_the_resolution_of_held_out_data_is_known_before_training(tmp_path, comm):
    train, coarse = written(tmp_path / "a.hdf5", base()), written(tmp_path / "b.hdf5", base(coordinates=centres((2, 2))))
    with pytest.raises((ConfigError, TopologyError), match=f"{coarse}.*modes"):
        open_experiment(case_of(train, coarse), comm)


@pytest.mark.parametrize("grid, message", [
    ({"shape": [16, 12], "extent": [1.0, 0.75], "periodic": [True, False]}, r"cells, which does not go with grid.shape = \[16, 12\]"),
    ({"shape": [8, 6], "extent": 1.0, "periodic": [True, False]}, "covers 0.75 along y, the case says grid.extent = 1"),
    ({"shape": [8, 6], "extent": [1.0, 0.75]}, "is not periodic along y, the case says grid.periodic = True"),
    ({"shape": [8, 6], "extent": [1.0, 0.75], "periodic": [True, False]}, None),
])  # fmt: skip
def test_the_table_grid_says_what_the_file_says(grid, message, tmp_path, comm):
    train = written(tmp_path / "train.hdf5", base())
    if message is None:
        assert open_experiment(case_of(train, grid=grid), comm).train.domain.grid.extent == (1.0, 0.75)
    else:
        with pytest.raises(ConfigError, match=message):
            open_experiment(case_of(train, grid=grid), comm)


def test_a_meaning_comes_back_from_a_checkpoint():
    meaning = Meaning.of_pairs(base(), ["u", "bed"], ["v"], 2, "train.hdf5")
    again = Meaning.from_state(meaning.to_state())
    assert again == meaning and again.source == "train.hdf5" and again.interval == 0.5


def tensors(path, x, y):
    torch.save({"x": torch.zeros(x) + 1, "y": torch.ones(y)}, path)
    return str(path)


@pytest.mark.parametrize("x, y, message", [
    ((4, 3, 8, 6), (4, 2, 8, 6), "the inputs should be x_0, x_1, got x_0, x_1, x_2"),
    ((4, 2, 8, 6), (4, 8, 6), "the targets should be y_0, y_1, got y"),
    ((4, 2, 8, 6), (4, 2, 16, 12), r"are on different grids, \(8, 6\) and \(16, 12\): bring both to the cells of one"),
    ((4, 2, 8, 6), (3, 2, 8, 6), "of as many samples"),
    ((4, 2, 8), (4, 2, 8), "the inputs should be x_0, x_1, got x"),
    ((0, 2, 8, 6), (0, 2, 8, 6), "is empty"),
    ((4, 0, 8, 6), (4, 2, 8, 6), "is empty"),
    ((4, 2, 16, 12), (4, 2, 16, 12), None),
])  # fmt: skip
@pytest.mark.parametrize("use", ["held out", "evaluation"])
def test_tensor_files_are_compared_too(use, x, y, message, tmp_path, comm):
    train, other = tensors(tmp_path / "train.pt", (4, 2, 8, 6), (4, 2, 8, 6)), tensors(tmp_path / "other.PT", x, y)
    tables = {"grid": {"shape": [8, 6]}, "data": {"kind": "tensors", "train": train, "test": [other] if use == "held out" else []}}
    spec = case_of(train, **tables)

    def opened():
        experiment = open_experiment(spec, comm)
        if use == "evaluation":
            return open_held_out(spec, [other], experiment.train.meaning, case.Ranks(), comm)
        return experiment.held_out

    if message is None:
        (pairs,) = opened().values()
        assert pairs.domain.grid.shape == (16, 12)
    else:
        with pytest.raises(ConfigError, match=f"{other}.*(?:{message})"):
            opened()


def test_names_of_tensors_are_no_matter_of_their_order_in_the_file(tmp_path, comm):
    x, y = torch.rand(4, 8, 6, dtype=torch.float64), torch.rand(4, 8, 6, dtype=torch.float64)
    torch.save({"x": x, "y": y}, tmp_path / "a.pt")
    torch.save({"other": x, "y": y, "x": x}, tmp_path / "b.pt")
    spec = case_of("", data={"kind": "tensors", "train": str(tmp_path / "a.pt"), "test": [str(tmp_path / "b.pt")]})
    experiment = open_experiment(spec, comm)
    (other,) = experiment.held_out.values()
    assert torch.equal(other.inputs, experiment.train.inputs) and torch.equal(other.targets, experiment.train.targets)


def test_what_was_simulated_is_compared_with_what_was_generated(tmp_path, comm):
    """The model of a simulation can be measured on a dataset of the same equation, box and step, and on no other."""
    tables = {
        "grid": {"shape": [8, 8], "extent": 2.0},
        "equation": {"name": "shallow_water"},
        "data": {"kind": "simulation", "trajectories": 1, "held_out": 1, "snapshots": 2, "interval": 0.05},
    }
    spec = case_of("", **tables)
    meaning = open_experiment(spec, comm).train.meaning
    fields = (Field("depth"), Field("momentum", 1))
    space = Description("waves", fields, 1, (0.0, 0.05, 0.1), centres((16, 16), (2.0, 2.0)), (True, True))
    for name, changes, message in [
        ("same", {}, None),
        ("box", {"coordinates": centres((16, 16), (1.0, 1.0))}, "covers 1 along x, the case says grid.extent = 2"),
        ("step", {"times": (0.0, 0.5, 1.0)}, "the time from input to target should be 0.05, got 0.5"),
        (
            "names",
            {"fields": (Field("height"), Field("momentum", 1))},
            "does not go with the simulation of the case: it has no field depth",
        ),
    ]:
        path = str(tmp_path / f"{name}.hdf5")
        create_dataset(path, "the-well", replace(space, **changes)).close()
        if message is None:
            (pairs,) = open_held_out(spec, [path], meaning, case.Ranks(), comm).values()
            assert pairs.num_channels == (3, 3) and pairs.num_samples == 2
        else:
            with pytest.raises(ConfigError, match=message):
                open_held_out(spec, [path], meaning, case.Ranks(), comm)


@pytest.mark.parametrize("key, value, message", [
    ("data", {"interval": 2.5}, "the time from input to target should be 0.05, got 2.5"),
    ("grid", {"extent": 3.0}, "the box along x should be 0 to 2, got 0 to 3"),
    ("equation", {"name": "wave"}, "the inputs should be depth, momentum, got "),
])  # fmt: skip
def test_a_case_that_was_changed_after_training_is_not_rolled_out(key, value, message, comm):
    tables = {
        "grid": {"shape": [8, 8], "extent": 2.0},
        "equation": {"name": "shallow_water"},
        "data": {"kind": "simulation", "trajectories": 1, "held_out": 1, "snapshots": 2, "interval": 0.05},
    }
    meaning = open_experiment(case_of("", **tables), comm).train.meaning
    with pytest.raises(ConfigError, match=message):
        held_out_truth(case_of("", **tables | {key: tables[key] | value}), comm, 1, None, meaning)


def test_a_roll_out_without_end_is_refused(tmp_path, comm):
    with pytest.raises(ConfigError, match="a roll-out has 1000000 steps at most, got 2147483647: take fewer"):
        held_out_truth(case_of(written(tmp_path / "a.hdf5", base())), comm, 2147483647)
