"""Compressed values stay within their bound, and a filter that lies is found out."""

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io import Compression, Field, Series, SnapshotFile, SnapshotWriter, UniformGrid

plugin = pytest.importorskip("hdf5plugin")
X, Y = np.meshgrid(*(np.linspace(0, 6, 128),) * 2, indexing="ij")
SERIES = Series(UniformGrid.dealt((128, 128), (1.0, 1.0)), [Field("u", leading=(("sample", 2),))])


def smooth(step):
    return {"u": np.stack([np.sin(X + step) * np.cos(Y), np.cos(X * Y / 6 + step)]).astype(np.float32)}


@pytest.mark.parametrize("name", ["sz3", "zfp"])
def test_every_value_is_within_the_bound_and_the_file_is_smaller(name, tmp_path):
    with SnapshotWriter(tmp_path / "run.h5", SERIES, MPI.COMM_SELF, compression=Compression(name, 1e-3)) as writer:
        for step in range(8):
            writer.append(step, smooth(step))
    file = SnapshotFile(tmp_path)
    for step in range(8):
        error = np.abs(file.read("u", (step,)).swapaxes(1, 2) - smooth(step)["u"]).max()
        assert 0 < error <= 1e-3
    (part,) = (tmp_path / "run.parts").glob("*.h5")
    assert part.stat().st_size < 8 * smooth(0)["u"].nbytes / 1.5  # zfp halves these fields, sz3 does better


def test_a_bound_that_is_not_kept_is_an_error_and_the_steps_before_stay(tmp_path, monkeypatch):
    bounds = iter([1e-3])
    monkeypatch.setattr(plugin, "SZ3", lambda absolute, original=plugin.SZ3: original(absolute=100 * next(bounds, 1.0)))
    with SnapshotWriter(tmp_path / "run.h5", SERIES, MPI.COMM_SELF, compression=Compression("sz3", 1e-3)) as writer:
        writer.append(0, {"u": np.zeros((2, 128, 128))})
        for _ in range(2):
            with pytest.raises(CheckpointError, match=r"error bound: expected at most 0\.001, got"):
                writer.append(1, smooth(1))
        writer.append(1, {"u": np.zeros((2, 128, 128))})
    assert np.array_equal(SnapshotFile(tmp_path).read("u"), np.zeros((2, 2, 128, 128)))


def test_nonsense_is_refused():
    for name, bound in (("gzip", 1.0), ("sz3", 0.0), ("zfp", float("nan"))):
        with pytest.raises(ConfigError, match="error bound above 0"):
            Compression(name, bound)
    with pytest.raises(CheckpointError, match="got nan"):
        Compression("sz3", 1.0).check(np.array([np.nan]), np.array([0.0]), "u")
