"""`hpcml tune` keeps what it has measured, and names the ranks it needs."""

import json

from hpcml.parallel.link import SIZES


def test_tune_keeps_a_time_for_every_size(mpiexec, tmp_path):
    result = mpiexec(2, "-m", "hpcml", "tune", env={"HPCML_CACHE": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "halo").iterdir()
    assert str(path) in result.stdout
    curves = json.loads(path.read_text())["curves"]["cpu"]
    assert "mpi" in curves and all([n for n, _ in curve] == list(SIZES) for curve in curves.values())
    assert all(seconds > 0 for curve in curves.values() for _, seconds in curve)


def test_the_wrong_number_of_ranks_is_named(alone):
    result = alone("tune")
    assert result.returncode == 2 and "mpiexec -n 2 hpcml tune" in result.stderr
