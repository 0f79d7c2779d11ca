"""The Dataset has the dims, coordinates, units and attributes of what was written, and reads what is asked for."""

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io import SnapshotFile, SnapshotWriter, open_snapshots

xarray = pytest.importorskip("xarray")


@pytest.mark.parallel([1, 2, 3])
def test_everything_is_where_it_belongs(comm, shared_path, snapshots):
    snapshots.write(shared_path / "run.h5", comm, 3)
    data = open_snapshots(shared_path)
    assert data.u.dims == ("time", "sample", "y", "x") and data.p.dims == ("time", "y", "x")
    assert (data.u.dtype, data.p.dtype) == (np.float32, np.float64)
    assert (data.u.units, data.time.units, data.x.units, data.attrs["equation"]) == ("m/s", "s", "m", "heat")
    assert data.time.values.tolist() == [0.0, 0.5, 1.0]
    assert data.x.values == pytest.approx((np.arange(6) + 0.5) * 0.5) and data.y.values == pytest.approx((np.arange(9) + 0.5) / 9)
    for step in range(3):
        assert np.array_equal(data.u[step], snapshots.in_files(step)["u"])
    assert float(data.p.sel(time=1.0, x=2.25, y=0.5)) == snapshots.content(2)["p"][4, 4]
    assert np.array_equal(data.u.isel(x=[5, 0], y=slice(None, None, -2))[0, 0], snapshots.in_files(0)["u"][0, ::-2, [5, 0]].T)


def test_nothing_is_read_before_it_is_asked_for(tmp_path, comm, snapshots, monkeypatch):
    snapshots.write(tmp_path / "run.h5", comm, 3)
    asked, original = [], SnapshotFile.read
    monkeypatch.setattr(SnapshotFile, "read", lambda self, name, index=(): asked.append((name, index)) or original(self, name, index))
    picked = open_snapshots(tmp_path).u.isel(time=1, sample=0, x=slice(2, 4))
    assert asked == []
    assert picked.values.shape == (9, 2) and [(name, index[0], index[3]) for name, index in asked] == [("u", 1, slice(2, 4, 1))]


def test_a_run_is_open_to_readers_while_it_goes_on(tmp_path, comm, snapshots):
    with SnapshotWriter(tmp_path / "run.h5", snapshots.series(comm), comm) as writer:
        writer.append(0.0, snapshots.content(0))
        early = open_snapshots(tmp_path)
        writer.append(0.5, snapshots.content(1))
        assert len(early.time) == 1 and len(open_snapshots(tmp_path).time) == 2
        assert np.array_equal(early.p[0], snapshots.in_files(0)["p"])
        assert not early.attrs["complete"]
    assert open_snapshots(tmp_path).attrs["complete"]


def test_a_missing_file_is_an_error_and_not_nan(tmp_path, comm, snapshots):
    snapshots.write(tmp_path / "run.h5", comm, 3)
    data = open_snapshots(tmp_path)
    (part,) = (tmp_path / "run.parts").glob("*.h5")
    part.unlink()
    with pytest.raises(CheckpointError, match=f"{part.name} is missing"):
        data.p.load()
