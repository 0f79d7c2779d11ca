"""What is written is of The Well's layout, by the rules of its own checker and to its own loader."""

import h5py
import numpy as np
import pytest
from the_well.data import WellDataset

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import create_dataset, open_dataset


@pytest.fixture
def path(tmp_path, space, values):
    with create_dataset(tmp_path / "demo.hdf5", "the-well", space) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)
    return tmp_path / "demo.hdf5"


def is_text(names):
    return isinstance(names, np.ndarray) and all(isinstance(name, str) for name in names)


def check_flags(thing):
    assert all(isinstance(thing.attrs[flag], np.bool_) for flag in ("sample_varying", "time_varying")), thing.name


def check(file):
    """The rules of scripts/check_thewell_formatting.py in https://github.com/PolymathicAI/the_well, said in other words."""
    root, dims = file.attrs, file["dimensions"]
    assert isinstance(root["dataset_name"], str) and isinstance(root["grid_type"], str)
    assert isinstance(root["n_trajectories"], np.integer) and int(root["n_spatial_dims"]) > 0
    assert all(name in root for name in root["simulation_parameters"])
    names = dims.attrs["spatial_dims"]
    assert is_text(names) and len(names) == root["n_spatial_dims"]
    for name in ("time", *names):
        check_flags(dims[name])
    for order in range(3):
        group = file[f"t{order}_fields"]
        assert is_text(group.attrs["field_names"])
        for name in group.attrs["field_names"]:
            field = group[name]
            check_flags(field)
            assert field.attrs["dim_varying"].dtype == bool and len(field.attrs["dim_varying"]) == len(names)
            sample, time = bool(field.attrs["sample_varying"]), bool(field.attrs["time_varying"])
            leading = [root["n_trajectories"]] * sample + [dims["time"].shape[-1]] * time
            space = [dims[n].shape[-1] for n, axis in zip(names, field.attrs["dim_varying"], strict=True) if axis]
            assert list(field.shape[: field.ndim - order]) == leading + space and field.dtype == np.float32
    assert is_text(file["scalars"].attrs["field_names"])
    for name in file["scalars"].attrs["field_names"]:
        check_flags(file["scalars"][name])
        assert file["scalars"][name].ndim == sum(file["scalars"][name].attrs[flag] for flag in ("sample_varying", "time_varying"))
    for condition in file["boundary_conditions"].values():
        check_flags(condition)
        assert "bc_type" in condition.attrs and "associated_fields" in condition.attrs
        assert [dims[name].shape[-1] for name in condition.attrs["associated_dims"]] == list(condition["mask"].shape)


def test_the_rules_of_its_checker_hold(path):
    with h5py.File(path) as file:
        check(file)


def test_its_loader_finds_fields_grid_and_boundaries(path, space, values):
    dataset = WellDataset(path=str(path.parent))
    assert len(dataset) == 9  # 3 trajectories of 4 times make 3 pairs each
    item = dataset[4]  # trajectory 1, times 1 and 2
    orders = [2, 0, 1]  # scalars first, then vectors: depth, velocity
    for name, time in (("input_fields", 1), ("output_fields", 2)):
        assert np.array_equal(item[name][0].numpy(), np.moveaxis(values[1, time, orders], 0, -1))
    assert np.array_equal(item["constant_fields"][..., 0].numpy(), values[1, 0, 3])
    assert np.array_equal(item["constant_scalars"].numpy(), np.float32([0.125, 2.0]))
    assert item["boundary_conditions"].tolist() == [[2, 2], [0, 0]]  # periodic; wall
    assert np.array_equal(item["space_grid"][..., 1].numpy()[0], np.float32(space.coordinates[1]))


def test_a_file_of_its_own_making_is_read(tmp_path, rng):
    """Fields that are the same for all trajectories or along a dim, times of each trajectory; scalars that vary in time are passed over."""
    drawn, along = rng.standard_normal((2, 3, 4, 5, 2)).astype("f4"), rng.standard_normal(5).astype("f4")

    def put(group, name, data, sample, time, **attributes):
        group[name] = data
        group[name].attrs.update(sample_varying=sample, time_varying=time, **attributes)

    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.attrs.update(dataset_name="own", grid_type="cartesian", n_spatial_dims=2, n_trajectories=2, simulation_parameters=["k"], k=2.0)
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        put(dims, "time", np.array([[0, 1, 2], [5, 6, 7]], "f4"), True, True)
        put(dims, "x", np.arange(4, dtype="f4"), False, False)
        put(dims, "y", np.arange(5, dtype="f4") / 2, False, False)
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["k", "power"]
        put(scalars, "k", np.float32(2), False, False)
        put(scalars, "power", np.arange(3, dtype="f4"), False, True)
        for order, names in enumerate((["speed"], ["flow"], [])):
            file.create_group(f"t{order}_fields").attrs["field_names"] = np.array(names, h5py.string_dtype())
        put(file["t0_fields"], "speed", along, False, False, dim_varying=[False, True])
        put(file["t1_fields"], "flow", drawn, True, True, dim_varying=[True, True])
        file.create_group("boundary_conditions")
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        space = dataset.description
        assert space.channels == ("speed", "flow_0", "flow_1") and space.constants == {"k": (2.0,)}
        assert space.extent == (4.0, 2.5) and space.periodic == (None, None) and space.times == (0.0, 1.0, 2.0)
        found = dataset.read(1, range(1, 3))
        assert np.array_equal(found[:, 1:], np.moveaxis(drawn[1, 1:], -1, 1))
        assert np.array_equal(found[:, 0], np.broadcast_to(along, (2, 4, 5)))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda file: file["t0_fields"].pop("depth"), "lists the field t0_fields/depth but does not hold it"),
        (lambda file: file.pop("t2_fields"), "lacks a part of it: .*t2_fields"),
        (lambda file: file["t0_fields/depth"].attrs.__setitem__("sample_varying", False), r"should have shape \(4, 6, 5\), got"),
        (lambda file: file.attrs.__setitem__("grid_type", "spherical"), "only cartesian"),
        (lambda file: file.attrs.__setitem__("hpcml_dataset_version", 2), "newer hpcml .version 2; this one knows 1"),
        (lambda file: put_times(file, [[0, 1, 2, 3], [5, 6, 7, 8], [0, 2, 4, 6]]), "trajectory 2 has its values at other times .* 0 to 6 "),
        (lambda file: put_cells(file), "the cells of trajectory 1 lie elsewhere along /dimensions/x than those of trajectory 0"),
        (lambda file: file["t0_fields"].attrs.__setitem__("field_names", ["depth"]), "contradicts itself: it lists the fields depth, velo"),
    ],
)
def test_what_is_wrong_is_named(spoil, message, path):
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(CheckpointError, match=message):
        open_dataset(path)


def put_times(file, rows):
    del file["dimensions/time"]
    file["dimensions/time"] = np.array(rows, "f4")


def put_cells(file):
    row = file["dimensions/x"][()]
    del file["dimensions/x"]
    file["dimensions/x"] = np.stack([row, row * 2, row])


def test_what_was_changed_in_the_layouts_own_words_counts(path, space):
    with h5py.File(path, "r+") as file:
        file["boundary_conditions/x_periodic"].attrs["bc_type"] = "OPEN"
        file["t0_fields/depth"].attrs["units"] = np.bytes_("ft")
    with open_dataset(path) as dataset:
        assert dataset.description.periodic == (False, False) and dataset.description.boundaries == ("open", "")
        assert dataset.description.fields[1].unit == "ft" and dataset.description.fields[0] == space.fields[0]
