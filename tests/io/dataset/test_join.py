"""Files of a folder are joined if they mean the same, in whatever order they say it, and refused by name if they do not."""

import os
from dataclasses import replace

import numpy as np
import pytest

from hpcml.cli.main import main
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset import Description, Field, convert, create_dataset, open_dataset

CENTRES = tuple(tuple((i + 0.5) / 8 for i in range(n)) for n in (4, 3))
UNITS = {"time_unit": "s", "length_unit": "m"}


def base(**changes):
    fields = (Field("depth", unit="m"), Field("velocity", 1, unit="m/s"))
    return replace(Description("demo", fields, 2, (0.0, 0.25, 0.5), CENTRES, (True, False), **UNITS), **changes)


def written(path, layout, space, sign=1.0):
    """Values that tell field, component, trajectory, time and cell."""
    with create_dataset(path, layout, space) as dataset:
        for trajectory in range(space.num_trajectories):
            cells = np.arange(space.num_times * np.prod(space.grid_shape)).reshape(space.num_times, *space.grid_shape)
            values = np.stack([sign * (1000 * hash_of(name) + 100 * trajectory + cells) for name in space.channels], 1)
            dataset.write(trajectory, 0, values)


def hash_of(name):
    return ["depth", "velocity_0", "velocity_1"].index(name) + 1


@pytest.mark.parametrize("layout, suffix", [("the-well", ".hdf5"), ("the-well", ".HDF5"), ("pdebench-groups", ".H5")])
def test_fields_in_another_order_are_the_same_fields(layout, suffix, tmp_path):
    written(tmp_path / f"a{suffix}", layout, base())
    written(tmp_path / f"b{suffix}", layout, base(fields=base().fields[::-1]))
    with open_dataset(tmp_path) as dataset:
        assert dataset.description.num_trajectories == 4 and dataset.description.channels == ("depth", "velocity_0", "velocity_1")
        for trajectory in range(2):
            assert np.array_equal(dataset.read(trajectory), dataset.read(trajectory + 2))
            assert np.array_equal(dataset.read(trajectory, channels=[2]), dataset.read(trajectory + 2, channels=[2]))


SPEED = Field("velocity", 1, unit="m/s")
OTHERS = {
    "another name": ({"fields": (Field("height", unit="m"), SPEED)}, "the fields should be depth, velocity, got height"),
    "another order": ({"fields": (Field("depth", unit="m"), replace(SPEED, order=0))}, "the tensor order of velocity should be 1, got 0"),
    "another unit": ({"fields": (Field("depth", unit="km"), SPEED)}, "the unit of depth should be m, got km"),
    "other times": ({"times": (0.0, 12.5, 25.0)}, "the times should be 3 from 0 to 0.5, got 3 from 0 to 25"),
    "fewer times": ({"times": (0.0, 0.25)}, "the times should be 3 from 0 to 0.5, got 2"),
    "times between": ({"times": (0.0, 0.1, 0.5)}, "the times should be 3"),
    "another unit of time": ({"time_unit": "h"}, "the unit of time should be s, got h"),
    "another box": ({"coordinates": (CENTRES[0], (1.0, 2.0, 3.0))}, "the box along y should be 0 to 0.375, got 0.5 to 3.5"),
    "a shifted box": ({"coordinates": (CENTRES[0], (1.0625, 1.1875, 1.3125))}, "the box along y should be 0 to 0.375, got 1 to 1.375"),
    "other cells": ({"coordinates": (CENTRES[0], (0.046875, 0.140625, 0.234375, 0.328125))}, "the cells along y should be 3, got 4"),
    "a stretched grid": ({"coordinates": (CENTRES[0], (0.0625, 0.3, 0.3125))}, "has its cells elsewhere"),
    "another unit of length": ({"length_unit": "km"}, "the unit of x should be m, got km"),
    "another boundary": ({"periodic": (False, False)}, "the boundary along x should be periodic, got wall"),
    "an open boundary": ({"boundaries": ("", "open")}, "the boundary along y should be wall, got open"),
    "other dims": ({"dims": ("y", "x")}, "the dims should be x, y, got y, x"),
}


@pytest.mark.parametrize("layout, suffix", [("the-well", ".hdf5"), ("pdebench-groups", ".h5")])
@pytest.mark.parametrize("name", OTHERS)
def test_another_meaning_is_refused(name, layout, suffix, tmp_path):
    changes, message = OTHERS[name]
    create_dataset(tmp_path / f"a{suffix}", layout, base()).close()
    create_dataset(tmp_path / f"b{suffix}", layout, base(**changes)).close()
    with pytest.raises(CheckpointError, match=rf"b{suffix} does not go with .*a{suffix}: .*{message}"):
        open_dataset(tmp_path)


def test_what_a_file_does_not_know_does_not_differ(tmp_path):
    silent = base(periodic=(None, None), time_unit="", length_unit="", fields=(Field("depth"), Field("velocity", 1)))
    create_dataset(tmp_path / "a.hdf5", "the-well", base()).close()
    create_dataset(tmp_path / "b.hdf5", "the-well", silent).close()
    with open_dataset(tmp_path) as dataset:
        assert dataset.description.periodic == (True, False) and dataset.description.num_trajectories == 4


def test_constants_of_any_file_are_those_of_its_trajectories(tmp_path):
    for name, constants in (("a", {"nu": (0.1,)}), ("b", {"nu": (0.1,), "seed": (3.0, 4.0)}), ("c", {"nu": (0.3,)})):
        create_dataset(tmp_path / f"{name}.h5", "the-well", base(constants=constants)).close()
    with open_dataset(tmp_path) as dataset:
        found = dataset.description.constants
    assert found["nu"] == (0.1,) * 4 + (0.3,) * 2 and found["seed"][2:4] == (3.0, 4.0) and np.isnan(found["seed"][5])


def test_what_other_systems_leave_in_a_folder_is_passed_over(tmp_path):
    create_dataset(tmp_path / "a.hdf5", "the-well", base()).close()
    for name in ("._a.hdf5", ".DS_Store", ".nfs0000000001.h5", "a.hdf5.partial", "README.txt"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    with open_dataset(tmp_path) as dataset:
        assert dataset.description.num_trajectories == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")], ids=["pipe", "folder", "link to nothing"])
def test_what_is_no_file_is_named(make, tmp_path):
    create_dataset(tmp_path / "a.hdf5", "the-well", base()).close()
    make(tmp_path / "b.hdf5")
    with pytest.raises(CheckpointError, match=r"b.hdf5 is no regular file|No such file.*b.hdf5"):
        open_dataset(tmp_path)


def test_an_axis_that_is_not_uniform_is_no_grid_but_can_be_shown_and_converted(tmp_path, capsys):
    stretched = base(coordinates=((0.1, 0.2, 0.5, 0.9, 1.4, 2.0), CENTRES[1]))
    create_dataset(tmp_path / "a.hdf5", "the-well", stretched).close()
    assert main(["data", "show", str(tmp_path / "a.hdf5")]) == 0
    assert "dim x: 6 cells between 0.1 and 2 m, periodic, not equally far apart" in capsys.readouterr().out
    with (
        open_dataset(tmp_path / "a.hdf5") as dataset,
        pytest.raises(ConfigError, match=r"the 6 cells of the dataset demo along x lie at 0.1, 0.2"),
    ):
        assert dataset.description.extent
    assert convert(tmp_path / "a.hdf5", tmp_path / "b.h5", "pdebench").coordinates[0] == pytest.approx(stretched.coordinates[0])
