"""What the tests of this folder write, and how it must look in the files."""

import math
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hpcml.io import Field, Series, SnapshotWriter, UniformGrid

CELLS, EXTENT = (6, 9, 5), (3.0, 1.0, 2.0)


def content(step, num_dims=2):
    """All values of a step in the order of memory; each names its place and its step, so that none can stand for another."""
    p = 1000.0 * step + np.arange(math.prod(CELLS[:num_dims])).reshape(CELLS[:num_dims])
    return {"u": np.stack([p, -p]).astype(np.float32), "p": p}


def in_files(step, num_dims=2):
    """The same in the order of the files, in which x varies fastest."""
    values = content(step, num_dims)
    return {"u": np.stack([sample.T for sample in values["u"]]), "p": values["p"].T}


def series(comm, num_dims=2, ranks=None):
    """Fields on this rank's block; by default the last dim is dealt, whose 9 cells make uneven blocks."""
    ranks = ranks or (1,) * (num_dims - 1) + (comm.size,)
    grid = UniformGrid.dealt(CELLS[:num_dims], EXTENT[:num_dims], ranks, tuple(map(int, np.unravel_index(comm.rank, ranks))))
    fields = (Field("u", "m/s", leading=(("sample", 2),)), Field("p", dtype="float64"))
    return Series(grid, fields, "s", "m", {"equation": "heat", "viscosity": 0.5})


def write(path, comm, steps, num_dims=2, ranks=None, **options):
    """Write steps at times 0, 0.5, ..., going on after those that are kept; give the writer, closed."""
    described = series(comm, num_dims, ranks)
    index = (..., *(slice(part.start, part.stop) for part in described.geometry.block))
    with SnapshotWriter(path, described, comm, **options) as snapshots:
        for step in range(len(snapshots.times), steps):
            snapshots.append(0.5 * step, {name: whole[index] for name, whole in content(step, num_dims).items()})
    return snapshots


@pytest.fixture(params=["ranks", "steps"])
def layout(request, comm):
    """Each layout that these ranks can write."""
    if request.param == "steps" and comm.size > 1 and not h5py.get_config().mpi:
        pytest.skip("several ranks can write one HDF5 file only with an h5py built with MPI, and its wheel is not")
    return request.param


@pytest.fixture(scope="session")
def snapshots():
    return SimpleNamespace(content=content, in_files=in_files, series=series, write=write, cells=CELLS, extent=EXTENT)


def _steps(path):
    """Time and data of each step, as VTK's reader gives them without an error."""
    from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

    reader = pytest.importorskip("vtkmodules.vtkIOXdmf2").vtkXdmfReader()
    errors = []
    reader.AddObserver("ErrorEvent", lambda *_: errors.append(path))
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    information, key = reader.GetOutputInformation(0), vtkStreamingDemandDrivenPipeline.TIME_STEPS()
    for time in [information.Get(key, i) for i in range(information.Length(key))]:
        reader.UpdateTimeStep(time)
        assert not errors
        yield time, reader.GetOutputDataObject(0)


@pytest.fixture(scope="session")
def read_xdmf():
    return _steps
