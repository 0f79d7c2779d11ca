"""Every rank says the same when a file is not what it should be; a folder of files is one dataset."""

import os

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset import create_dataset, open_dataset


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path):
    path.unlink()
    with h5py.File(path, "w") as file:
        file["truth"] = np.zeros(3)


def led_away(path):
    path.rename(path.parent.parent / "b.hdf5")
    with h5py.File(path, "w") as file:
        for name in ("dimensions", "t0_fields"):
            file[name] = h5py.ExternalLink("../b.hdf5", name)


def sourceless(path):
    with h5py.File(path, "r+") as file:
        kept, attributes = file["t0_fields/bed"].shape, dict(file["t0_fields/bed"].attrs)
        del file["t0_fields/bed"]
        layout = h5py.VirtualLayout(kept, "f4")
        layout[:] = h5py.VirtualSource("gone.hdf5", "bed", kept)
        file["t0_fields"].create_virtual_dataset("bed", layout, fillvalue=0).attrs.update(attributes)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil, message", [
    (cut, "cannot read the dataset .*truncated"),
    (lambda path: path.write_text("no HDF5"), "cannot read the dataset .*file signature not found"),
    (foreign, "is of no known layout: expected The Well's .*, got truth"),
    (lambda path: path.unlink(), "there is no dataset"),
    (led_away, "refers to ../b.hdf5, outside .*: it is not followed; .*HPCML_LINKED_FOLDERS"),
    (sourceless, "a.hdf5 refers to gone.hdf5, which is missing"),
    (a_pipe, "is no regular file"),
])  # fmt: skip
@pytest.mark.parallel([1, 2, 3])
def test_a_bad_file_is_one_error_on_every_rank(spoil, message, comm, shared_path, space):
    create_dataset(shared_path / "a.hdf5", "the-well", space, comm).close()
    if comm.rank == 0:
        spoil(shared_path / "a.hdf5")
    comm.Barrier()
    with pytest.raises(CheckpointError, match=message):
        open_dataset(shared_path / "a.hdf5", comm)


@pytest.mark.parallel([1, 2])
def test_nothing_is_overwritten(comm, shared_path, space):
    create_dataset(shared_path / "a.hdf5", "the-well", space, comm).close()
    with pytest.raises(ConfigError, match="exists already"):
        create_dataset(shared_path / "a.hdf5", "the-well", space, comm)
    with pytest.raises(CheckpointError, match="making the dataset .* failed"):
        create_dataset(shared_path / "a.hdf5" / "b.hdf5", "the-well", space, comm)


def test_an_unknown_layout_is_named(tmp_path, space):
    with pytest.raises(ConfigError, match="no layout 'zarr' to write: expected the-well, pdebench"):
        create_dataset(tmp_path / "a.hdf5", "zarr", space)


def test_the_files_of_a_folder_follow_one_another(tmp_path, space, values):
    for name, order in (("b.hdf5", [1, 0, 2]), ("a.hdf5", [0, 1, 2])):
        with create_dataset(tmp_path / name, "the-well", space) as dataset:
            for trajectory, number in enumerate(order):
                dataset.write(trajectory, 0, values[number])
    with open_dataset(tmp_path) as dataset:
        assert dataset.description.num_trajectories == 6
        assert dataset.description.constants == {"nu": (0.125,), "seed": (1.0, 2.0, 3.0, 1.0, 2.0, 3.0)}
        for trajectory, number in enumerate([0, 1, 2, 1, 0, 2]):
            assert np.array_equal(dataset.read(trajectory), values[number])


def test_files_that_do_not_go_together_are_named(tmp_path, space):
    from dataclasses import replace

    create_dataset(tmp_path / "a.hdf5", "the-well", space).close()
    create_dataset(tmp_path / "b.hdf5", "the-well", replace(space, times=space.times[:2])).close()
    with pytest.raises(CheckpointError, match="b.hdf5 does not go with .*a.hdf5"):
        open_dataset(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no \*.hdf5"):
        (tmp_path / "empty").mkdir()
        open_dataset(tmp_path / "empty")


def test_a_link_in_a_folder_is_followed_if_nobody_else_has_put_it_there(tmp_path, shared_folder, space, as_another_user):
    create_dataset(tmp_path / "a.hdf5", "the-well", space).close()
    (shared_folder / "a.hdf5").symlink_to(tmp_path / "a.hdf5")
    with open_dataset(shared_folder) as dataset:
        assert dataset.description.num_trajectories == space.num_trajectories
    as_another_user(lambda: (shared_folder / "b.hdf5").symlink_to(tmp_path / "a.hdf5"))
    with pytest.raises(
        CheckpointError, match=r"b.hdf5 is a symbolic link that user \d+ has put there, expected .*: make the link yourself"
    ):
        open_dataset(shared_folder)
    with open_dataset(shared_folder / "b.hdf5") as dataset:  # which the user has named
        assert dataset.description.num_trajectories == space.num_trajectories
