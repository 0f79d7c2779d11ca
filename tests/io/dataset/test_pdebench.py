"""Files as PDEBench's generators write them are read; what is written is read by a loader that takes the steps of PDEBench's."""

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset import Description, Field, convert, create_dataset, open_dataset

CELLS = tuple((i + 0.5) / 4 for i in range(4))


def pdebench_loader(path):
    """(trajectory, *cells, time, channel), as FNODataset of pdebench/models/fno/utils.py arranges it: all channels, in its order."""
    with h5py.File(path) as file:
        if "tensor" not in file:
            names = ["density", "pressure", *sorted(name for name in file if name.startswith("V"))]
            channels = [np.moveaxis(file[name][()], 1, -1) for name in names]
        elif "nu" in file:
            return np.stack([file["nu"][()], file["tensor"][:, 0]], -1)[..., None]
        else:
            channels = [np.moveaxis(file["tensor"][()], 1, -1)]
        assert all(len(file[f"{dim}-coordinate"]) == n for dim, n in zip("xyz", channels[0].shape[1:-1], strict=False))
        return np.stack(channels, -1)


def space_of(fields, dims, times=3):
    return Description("demo", fields, 2, tuple(t / 4 for t in range(times)), (CELLS,) * dims, (True,) * dims, {"beta": (0.5,)})


SCALAR = (Field("u"),)
DARCY = (Field("coefficient", varies_in_time=False), Field("pressure"))
FLUID = (Field("density"), Field("velocity", 1), Field("pressure"))


@pytest.mark.parametrize("fields, dims, order", [(SCALAR, 1, [0]), (SCALAR, 2, [0]), (FLUID, 2, [0, 3, 1, 2]), (FLUID, 3, [0, 4, 1, 2, 3])])
def test_its_loader_reads_ours(fields, dims, order, tmp_path, rng):
    space = space_of(fields, dims)
    values = rng.standard_normal((2, 3, len(space.channels), *(4,) * dims)).astype("f4")
    with create_dataset(tmp_path / "a.hdf5", "pdebench", space) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)
    assert np.array_equal(pdebench_loader(tmp_path / "a.hdf5"), np.moveaxis(values[:, :, order], (1, 2), (-2, -1)))
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        assert dataset.description == space and np.array_equal(dataset.read(1), values[1])


def test_its_loader_reads_our_darcy_flow(tmp_path, rng):
    values = rng.standard_normal((2, 1, 2, 4, 4)).astype("f4")
    with create_dataset(tmp_path / "a.hdf5", "pdebench", space_of(DARCY, 2, times=1)) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)
    assert np.array_equal(pdebench_loader(tmp_path / "a.hdf5")[..., 0], np.moveaxis(values[:, 0], 1, -1))


def test_a_file_of_its_compressible_fluids_is_read(tmp_path, rng):
    drawn = {name: rng.standard_normal((2, 3, 4, 5)).astype("f4") for name in ("Vx", "Vy", "density", "pressure")}
    with h5py.File(tmp_path / "2D_CFD.hdf5", "w") as file:
        for name, data in drawn.items():
            file[name] = data
        file["x-coordinate"], file["y-coordinate"], file["t-coordinate"] = np.arange(4.0), np.arange(5.0), np.arange(4.0)
        file.attrs.update(eta=1e-8, zeta=1e-8, M=0.1)
    with open_dataset(tmp_path / "2D_CFD.hdf5") as dataset:
        space = dataset.description
        assert space.channels == ("density", "pressure", "velocity_0", "velocity_1") and space.periodic == (None, None)
        assert space.times == (0.0, 1.0, 2.0) and space.constants["M"] == (0.1,)  # edges of intervals: one more time than values
        assert np.array_equal(dataset.read(1), np.stack([drawn[n][1] for n in ("density", "pressure", "Vx", "Vy")], 1))


def test_a_file_of_its_groups_is_read(tmp_path, rng):
    drawn = rng.standard_normal((3, 5, 4, 6, 2)).astype("f4")
    with h5py.File(tmp_path / "2D_diff-react.h5", "w") as file:
        for number, data in enumerate(drawn):
            group = file.create_group(f"{number:04d}")
            group.create_dataset("data", data=data, compression="lzf")
            for name, size in (("x", 4), ("y", 6), ("t", 5)):
                group[f"grid/{name}"] = np.arange(size, dtype="f4")
            group.attrs["config"] = f"sim:\n  Du: 0.001\n  seed: {number}\nname: diff-react\n"
    with open_dataset(tmp_path / "2D_diff-react.h5") as dataset:
        space = dataset.description
        assert dataset.layout == "pdebench-groups" and space.channels == ("data_0", "data_1") and space.num_trajectories == 3
        assert space.constants == {"Du": (0.001,), "seed": (0.0, 1.0, 2.0)}
        assert np.array_equal(dataset.read(2, range(1, 3), channels=[1]), drawn[2, 1:3, None, :, :, 1])


def test_a_file_of_its_incompressible_flow_is_read_and_converted(tmp_path, rng):
    shapes = {"velocity": (2, 3, 4, 6, 2), "particles": (2, 3, 4, 6, 1), "force": (2, 4, 6, 2)}
    drawn = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    with h5py.File(tmp_path / "ns_incom.h5", "w") as file:
        for name, data in drawn.items():
            file.create_dataset(name, data=data, chunks=True, compression="lzf", shuffle=True)
        file["t"] = np.arange(6.0).reshape(2, 3)
        file.attrs.update(config="NU: 1.0e-2\nscale: 10\nlabel: 1.2.3\n", latestIndex=2)
    convert(tmp_path / "ns_incom.h5", tmp_path / "a.hdf5", "the-well")
    for name in ("ns_incom.h5", "a.hdf5"):
        with open_dataset(tmp_path / name) as dataset:
            space = dataset.description
            assert space.channels == ("velocity_0", "velocity_1", "particles", "force_0", "force_1") and space.times == (0.0, 1.0, 2.0)
            assert space.constants == {"NU": (pytest.approx(0.01),), "scale": (10.0,)} and space.extent == (4.0, 6.0)
            found = np.moveaxis(dataset.read(1), 1, -1)
            assert np.array_equal(found[..., :3], np.concatenate([drawn["velocity"][1], drawn["particles"][1]], -1))
            assert np.array_equal(found[2, ..., 3:], drawn["force"][1])


def test_ours_has_the_groups_that_it_expects(tmp_path, rng):
    space = space_of((Field("u"), Field("v")), 2)
    values = rng.standard_normal((2, 3, 2, 4, 4)).astype("f4")
    with create_dataset(tmp_path / "a.h5", "pdebench-groups", space) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["0000", "0001"]
        assert np.array_equal(file["0001/data"][()], np.moveaxis(values[1], 1, -1))
        assert [file[f"0001/grid/{name}"].shape for name in "xyt"] == [(4,), (4,), (3,)] and file["0001"].attrs["config"] == "beta: 0.5\n"
    with open_dataset(tmp_path / "a.h5") as dataset:
        assert dataset.description == space


@pytest.mark.parametrize("layout, fields, message", [
    ("pdebench", (Field("u"), Field("v")), r"not u, v: name the file \*.h5"),
    ("pdebench-groups", DARCY, r"fields that vary in time, not coefficient"),
])  # fmt: skip
def test_fields_that_it_cannot_name_are_refused(layout, fields, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        create_dataset(tmp_path / "a.hdf5", layout, space_of(fields, 2))


@pytest.mark.parametrize("content, message", [
    ({"density": (2, 3, 4), "x-coordinate": (4,), "pressure": (2, 3, 4)}, "has no array Vx"),
    ({"tensor": (2, 3, 4)}, "has no array x-coordinate"),
    ({"tensor": (2, 3, 4), "x-coordinate": (5,)}, r"/tensor should be of shape \(2, 3, 5\), got \(2, 3, 4\)"),
    ({"tensor": (4,), "x-coordinate": (4,)}, r"should be \(trajectory, time, cells"),
    ({"0000/data": (3, 4, 1), "0000/grid/x": (4,), "0000/grid/t": (3,), "0001/data": (2, 4, 1)}, "/0001/data should be of shape"),
    ({"0000/data": (3, 4, 1)}, "lacks a part of it"),
    ({"velocity": (2, 3, 4, 4, 2), "particles": (2, 3, 4, 4)}, r"/particles should be of shape \(2, 3, 4, 4, 1\)"),
    ({"velocity": (2, 3, 4), "particles": (2, 3, 4)}, r"/velocity should be \(trajectory, time, cells, cells, 2\)"),
])  # fmt: skip
def test_what_is_wrong_is_named(content, message, tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, shape in content.items():
            file[name] = np.zeros(shape)
    with pytest.raises(CheckpointError, match=message):
        open_dataset(tmp_path / "a.hdf5")
