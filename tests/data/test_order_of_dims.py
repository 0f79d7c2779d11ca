"""A held-out file that names no dims has them in the order of the training data: turned fields are refused, other resolutions are not."""

import h5py
import numpy as np
import pytest
import torch

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.data.stored_pairs import open_pairs
from hpcml.data.tensor_files import read_pairs
from hpcml.io.dataset import Description, Field, create_dataset

CELLS, TURNED, FINER = (4, 6), (6, 4), (6, 8)
MESSAGE = r"is on a grid of \(6, 4\) cells, that of .* with its dims in another order: expected \(4, 6\) .* put the dims in the order"


def tensors(path, cells):
    torch.save({"x": torch.rand(4, 2, *cells), "y": torch.rand(4, 1, *cells)}, path)


def incompressible(path, cells):
    with h5py.File(path, "w") as file:
        for name, (times, channels) in {"velocity": ((3,), 2), "particles": ((3,), 1), "force": ((), 2)}.items():
            file[name] = np.ones((2, *times, *cells, channels), "f4")
        file["t"] = np.arange(6.0).reshape(2, 3)


def located(layout):
    def write(path, cells):
        centres = tuple(tuple((i + 0.5) / n for i in range(n)) for n in cells)
        with create_dataset(path, layout, Description("a", (Field("u"),), 1, (0.0, 1.0), centres, (True, True))) as dataset:
            dataset.write(0, 0, np.ones((2, 1, *cells), "f4"))

    return write


def read(path, comm, like=None):
    grid = case.Grid(shape=CELLS)
    if path.suffix == ".pt":
        return read_pairs(path, case.Tensors(kind="tensors", train=str(path)), grid, case.Ranks(), comm, torch.float32, like)
    return open_pairs(str(path), case.Dataset(kind="dataset", path=str(path), stride=1), grid, case.Ranks(), comm, torch.float32, like)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("write, suffix", [(tensors, ".pt"), (incompressible, ".h5")], ids=["tensors", "dataset without coordinates"])
def test_dims_without_names_are_in_the_order_of_training(comm, shared_path, write, suffix):
    paths = {cells: shared_path / f"of_{cells[0]}_{cells[1]}{suffix}" for cells in (CELLS, TURNED, FINER)}
    if comm.rank == 0:
        for cells, path in paths.items():
            write(path, cells)
    comm.Barrier()
    with read(paths[CELLS], comm).space as space:
        like = read(paths[CELLS], comm).meaning
        assert space.global_shape == CELLS
        with pytest.raises(ConfigError, match=MESSAGE):
            read(paths[TURNED], comm, like)
        assert read(paths[FINER], comm, like).space.global_shape == FINER


@pytest.mark.parametrize("layout", ["the-well", "pdebench"])
def test_dims_with_names_and_coordinates_are_what_the_file_says(comm, tmp_path, layout):
    """Of as many cells in another order it is another resolution, of the same box."""
    for name, cells in (("a", CELLS), ("b", TURNED)):
        located(layout)(tmp_path / f"{name}.hdf5", cells)
    like = read(tmp_path / "a.hdf5", comm).meaning
    assert read(tmp_path / "b.hdf5", comm, like).space.global_shape == TURNED
