"""Fields on the nodes of a mesh go into a file and come out on any number of ranks, with the mesh that they belong to."""

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.io.dataset import Description, Field, MeshRows, create_dataset, open_dataset
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.io.dataset.mesh_rows import read_rows
from hpcml.topology.block import BlockRange, block_range

FIELDS = (Field("velocity", 1, unit="m/s"), Field("pressure"), Field("wall", varies_in_time=False))
NODES = 20


def squares():
    """Positions, edges both ways, and squares of 5 x 4 points."""
    points = np.array([[i / 4, j / 4] for i in range(5) for j in range(4)])
    corners = np.array([[4 * i + j, 4 * i + 4 + j, 4 * i + 5 + j, 4 * i + 1 + j] for i in range(4) for j in range(3)])
    pairs = np.unique(np.sort(np.concatenate([np.roll(corners, k, 1)[:, :2] for k in range(4)]), 1), axis=0)
    return points, np.concatenate([pairs, pairs[:, ::-1]]), corners


def rows_of(comm):
    """Rows of this rank; the last of several has no points."""
    points, edges, corners = squares()
    own = np.array_split(points, max(1, comm.size - 1))[comm.rank] if comm.rank < max(1, comm.size - 1) else points[:0]
    share = [np.array_split(array, comm.size)[comm.rank] for array in (edges, corners)]
    return MeshRows(own, share[0].T, {"quadrilateral": share[1]})


def described(comm, trajectories=2):
    return rows_of(comm).describe("wake", FIELDS, trajectories, (0.0, 0.5, 1.0), comm, {"nu": (0.1,)}, time_unit="s", length_unit="m")


@pytest.mark.parallel([1, 2, 3])
def test_values_and_mesh_come_back(comm, shared_path, rng):
    path, values = shared_path / "wake.h5", rng.standard_normal((2, 3, 4, NODES)).astype("f4")
    values[:, :, 3] = values[:, :1, 3]
    space, mine = described(comm), block_range(NODES, comm.size, comm.rank)
    with create_dataset(path, "mesh", space, comm, mesh=rows_of(comm)) as dataset:
        for trajectory in range(2):
            dataset.write(trajectory, 0, values[trajectory, ..., mine.start : mine.stop], [mine])
    comm.Barrier()
    with open_dataset(path, comm) as dataset:
        assert dataset.layout == "mesh" and dataset.description == space
        assert np.array_equal(dataset.read(1), values[1])
        assert np.array_equal(dataset.read(0, range(1, 2), [BlockRange(3, 8)], [2, 0])[0], values[0, 1, [2, 0], 3:8])
        rows = read_rows(path, dataset.description, comm)
    found = comm.allgather(rows)
    points, edges, corners = squares()
    assert np.array_equal(np.concatenate([part.points for part in found]), points)
    assert np.array_equal(np.concatenate([part.edges for part in found], 1), edges.T)
    assert np.array_equal(np.concatenate([part.cells["quadrilateral"] for part in found]), corners)


@pytest.mark.parallel([1, 2, 3])
def test_the_fingerprint_is_that_of_the_whole_mesh(comm):
    points, edges, corners = squares()
    whole = MeshRows(points, edges.T, {"quadrilateral": corners})
    empty = MeshRows(points[:0], edges[:0].T, {"quadrilateral": corners[:0]})
    alone = (whole if comm.rank == comm.size - 1 else empty).describe("", FIELDS, 1, (0.0,), comm).fingerprint
    assert described(comm).fingerprint == alone
    moved = MeshRows(points + 1e-12, edges.T, {"quadrilateral": corners})
    turned = MeshRows(points, edges[::-1].T, {"quadrilateral": corners})
    others = {(other if comm.rank == 0 else empty).describe("", FIELDS, 1, (0.0,), comm).fingerprint for other in (moved, turned)}
    assert len(others | {alone}) == 3


@pytest.mark.parallel([1, 2])
def test_a_mesh_that_was_changed_under_its_values_is_refused(comm, shared_path):
    path = shared_path / "wake.h5"
    create_dataset(path, "mesh", described(comm), comm, mesh=rows_of(comm)).close()
    if comm.rank == 0:
        with h5py.File(path, "r+") as file:
            file["mesh/edges"][3] = file["mesh/edges"][4]
    comm.Barrier()
    with open_dataset(path, comm) as dataset, pytest.raises(CheckpointError, match="its mesh is not the one that it was made with"):
        read_rows(path, dataset.description, comm)


def test_files_on_two_meshes_are_no_dataset(comm, tmp_path):
    points, edges, corners = squares()
    for name, shift in (("a.h5", 0.0), ("b.h5", 0.0), ("c.h5", 1e-9)):
        rows = MeshRows(points + shift, edges.T, {"quadrilateral": corners})
        create_dataset(tmp_path / name, "mesh", rows.describe("wake", FIELDS, 1, (0.0, 1.0), comm), comm, mesh=rows).close()
    with pytest.raises(CheckpointError, match=r"c\.h5 does not go with .*a\.h5: .* on one grid or one mesh"):
        open_dataset(tmp_path, comm)
    (tmp_path / "c.h5").unlink()
    with open_dataset(tmp_path, comm) as dataset:
        assert dataset.description.num_trajectories == 2


def test_a_file_that_grows_has_its_mesh_from_the_beginning(comm, tmp_path):
    path, space = tmp_path / "wake.hdf5", described(comm)
    values = np.arange(3 * 4 * NODES, dtype="f4").reshape(3, 4, NODES)
    with pytest.raises(ZeroDivisionError), GrowingDataset(path, space, "case", comm, "mesh", mesh=rows_of(comm)) as file:
        file.write(0, 0, values)
        file.finish(0, comm)
        raise ZeroDivisionError
    with GrowingDataset(path, space, "case", comm, "mesh", mesh=rows_of(comm)) as file:
        assert file.missing == [1]
        file.write(1, 0, values)
        file.finish(1, comm)
    with open_dataset(path, comm) as dataset:
        assert np.array_equal(dataset.read(0)[:, :3], values[:, :3])
        assert len(read_rows(path, dataset.description, comm).points) == NODES


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("mesh/points", np.zeros((3, 5)), "expected points .node, 1 to 3."),
        ("mesh/cells/quadrilateral", np.zeros((3, 3), np.int64), "cells .cell, corner."),
        ("fields/pressure", np.zeros((2, 3, 7)), "should have shape"),
        ("times", np.array([b"a"]), "expected an array of numbers at times"),
    ],
)
def test_parts_of_another_kind_are_named(comm, tmp_path, part, value, message):
    path = tmp_path / "wake.h5"
    create_dataset(path, "mesh", described(comm), comm, mesh=rows_of(comm)).close()
    with h5py.File(path, "r+") as file:
        attributes = dict(file[part].attrs)
        del file[part]
        file[part] = value
        file[part].attrs.update(attributes)
    with pytest.raises(CheckpointError, match=message):
        open_dataset(path, comm)


@pytest.mark.parallel([1, 2])
def test_rows_of_another_shape_are_refused_on_every_rank(comm, shared_path):
    points, edges, corners = squares()
    wrong = [
        (MeshRows(points[:, :0], edges.T, {}), "points of a mesh are"),
        (MeshRows(points, edges, {}), "edges of a mesh are integers"),
        (MeshRows(points, edges.T, {"square": corners}), "cells of a mesh are integers"),
        (MeshRows(points, edges.T, {"triangle": corners}), "cells of a mesh are integers"),
    ]
    for rows, message in wrong:
        with pytest.raises(ShapeError, match=message):
            (rows if comm.rank == comm.size - 1 else rows_of(comm)).describe("", FIELDS, 1, (0.0,), comm)
    plain = Description("demo", (Field("u"),), 1, (0.0,), ((0.5,),), (None,))
    with pytest.raises(ConfigError, match="the layout mesh holds fields on the nodes of a mesh"):
        create_dataset(shared_path / "plain.h5", "mesh", plain, comm, mesh=rows_of(comm))


@pytest.mark.parallel([1, 2])
def test_a_dataset_on_a_mesh_is_made_with_the_mesh_that_it_is_described_by(comm, shared_path):
    path, rows, last = shared_path / "wake.h5", rows_of(comm), comm.rank == comm.size - 1
    with pytest.raises(ConfigError, match="rows of it as mesh="):
        create_dataset(path, "mesh", described(comm), comm, mesh=None if last else rows)
    with pytest.raises(ConfigError, match="rows of it as mesh="):
        GrowingDataset(path, described(comm), "case", comm, "mesh")
    moved = MeshRows(rows.points + 1e-9, rows.edges, rows.cells)
    fewer = MeshRows(rows.points, rows.edges[:, last:], rows.cells)
    for other, words in ((moved, "made for another mesh"), (fewer, "made for a mesh of")):
        with pytest.raises(ShapeError, match=words):
            create_dataset(path, "mesh", described(comm), comm, mesh=other)
        comm.Barrier()
        assert not path.exists()
        comm.Barrier()
    create_dataset(path, "mesh", described(comm), comm, mesh=rows).close()


def test_a_mesh_that_is_too_large_for_the_memory_is_one_sentence(comm, tmp_path):
    path = tmp_path / "wake.h5"
    create_dataset(path, "mesh", described(comm), comm, mesh=rows_of(comm)).close()
    with h5py.File(path, "r+") as file:
        del file["mesh/edges"]
        file["mesh"].create_dataset("edges", (2**46, 2), "<i8", chunks=(1024, 2))  # a petabyte of nothing
    with open_dataset(path, comm) as dataset, pytest.raises(CheckpointError, match="there is no memory for it"):
        read_rows(path, dataset.description, comm)
