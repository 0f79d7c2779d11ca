"""Points that move are shown where they are in each step and sample, truth and prediction each at its own places."""

import xml.etree.ElementTree as ET

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io import Field, Series, SnapshotFile, SnapshotWriter, UniformGrid, UnstructuredGrid
from hpcml.topology.block import block_range

COUNT, SAMPLES = 7, (("sample", 2),)


def places(kind, step, axis):
    """(sample, point); each value names its kind, step, sample, axis and point."""
    numbers = 10.0 * np.arange(2)[:, None] + np.arange(COUNT)
    return (1000 * step + 100 * axis + numbers) * (1 if kind == "truth" else -1)


def content(step, num_moved):
    moved = {f"{kind}_{axis}": places(kind, step, axis) for kind in ("truth", "prediction") for axis in range(num_moved)}
    return moved | {"truth_u": step + np.arange(2.0 * COUNT).reshape(2, COUNT), "cells": -step - np.arange(1.0 * COUNT)}


def series(comm, num_moved=2, num_dims=2):
    own = block_range(COUNT, comm.size, comm.rank)
    points = np.arange(1.0 * COUNT * num_dims).reshape(COUNT, num_dims)[own.start : own.stop]
    mesh = UnstructuredGrid.joined(points, {"vertex": np.arange(own.start, own.stop)[:, None]}, comm)
    of = {kind: tuple(f"{kind}_{axis}" for axis in range(num_moved)) for kind in ("truth", "prediction")}
    fields = [Field(name, "m", SAMPLES, "float64", coordinates=names) for names in of.values() for name in names]
    return Series(mesh, [*fields, Field("truth_u", leading=SAMPLES, coordinates=of["truth"]), Field("cells", at="cells")]), own


def write(path, comm, steps, num_moved=2, num_dims=2):
    described, own = series(comm, num_moved, num_dims)
    with SnapshotWriter(path, described, comm) as snapshots:
        for step in range(steps):
            snapshots.append(0.5 * step, {name: values[..., own.start : own.stop] for name, values in content(step, num_moved).items()})
            if comm.rank == 0:
                assert len(list(ET.parse(path.with_suffix(".xdmf")).iter("Time"))) == step + 1


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("num_moved", "num_dims"), [(2, 2), (3, 3), (1, 2)])
def test_vtk_shows_points_where_they_are(num_moved, num_dims, comm, shared_path, read_xdmf):
    write(shared_path / "run.h5", comm, 3, num_moved, num_dims)
    if comm.rank:
        return
    support = pytest.importorskip("vtkmodules.util.numpy_support")
    fixed = np.arange(1.0 * COUNT * num_dims).reshape(COUNT, num_dims)
    for step, (time, whole) in enumerate(read_xdmf(shared_path / "run.xdmf")):
        assert time == 0.5 * step and whole.GetNumberOfBlocks() == 5
        expected = content(step, num_moved)
        assert np.array_equal(support.vtk_to_numpy(whole.GetBlock(0).GetPoints().GetData())[:, :num_dims], fixed)
        assert np.array_equal(support.vtk_to_numpy(whole.GetBlock(0).GetCellData().GetArray("cells")), expected["cells"])
        for block, (kind, sample) in enumerate([("truth", 0), ("truth", 1), ("prediction", 0), ("prediction", 1)], start=1):
            shown = whole.GetBlock(block)
            now = np.concatenate([np.stack([places(kind, step, axis)[sample] for axis in range(num_moved)], 1), fixed[:, num_moved:]], 1)
            assert np.array_equal(support.vtk_to_numpy(shown.GetPoints().GetData())[:, :num_dims], now)
            assert shown.GetNumberOfCells() == COUNT and shown.GetPointData().HasArray("truth_u") == (kind == "truth")
            for name in [name for name in expected if name.startswith(kind)]:
                assert np.array_equal(support.vtk_to_numpy(shown.GetPointData().GetArray(name)), expected[name][sample])
    assert step == 2


@pytest.mark.parallel([1, 2])
def test_readers_know_where_points_are(comm, shared_path):
    write(shared_path / "run.h5", comm, 1)
    if comm.rank == 0:
        variables = SnapshotFile(shared_path / "run.h5").view.variables
        assert variables["truth_u"].coordinates == ("truth_0", "truth_1") and variables["cells"].coordinates == ()


@pytest.mark.parametrize("coordinates", ["truth_0 nothing", "truth_0 cells", "truth_0 " * 4])
def test_coordinates_that_cannot_be_are_damage(coordinates, tmp_path):
    write(tmp_path / "run.h5", MPI.COMM_SELF, 1)
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file["truth_u"].attrs["coordinates"] = coordinates
    with pytest.raises(CheckpointError, match="the coordinates of truth_u are no fields at its points"):
        SnapshotFile(tmp_path / "run.h5")


@pytest.mark.parametrize(
    "fields",
    [
        [Field("u", coordinates=("v",))],
        [Field("u", leading=SAMPLES, coordinates=("v",)), Field("v")],
        [Field("u", coordinates=("v",)), Field("v", at="cells")],
        [Field("u", coordinates=("u", "u", "u"))],
    ],
)
def test_coordinates_that_are_no_fields_at_points_are_refused(fields):
    mesh = series(MPI.COMM_SELF)[0].geometry
    with pytest.raises(ConfigError, match="the coordinates of the field u are fields at points of 2 coordinates"):
        Series(mesh, fields)


def test_cells_of_a_grid_do_not_move():
    with pytest.raises(ConfigError, match="points of 0 coordinates"):
        Series(UniformGrid.dealt((4,), (1.0,)), [Field("u", coordinates=("u",))])
