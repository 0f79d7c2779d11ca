"""``hpcml watch`` shows each step of what a job writes, and says when a job died."""

import subprocess
import sys

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.cli.main import main
from hpcml.cli.plane_mesh import PlaneMesh
from hpcml.io import Field, Series, SnapshotWriter, UniformGrid, UnstructuredGrid

DIES = """
import os, sys
import numpy as np
from mpi4py import MPI
from hpcml.io import Field, Series, SnapshotWriter, UniformGrid
writer = SnapshotWriter(sys.argv[1], Series(UniformGrid.dealt((4,), (1.0,)), [Field("u")]), MPI.COMM_SELF)
writer.append(0.0, {"u": np.ones(4)})
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def run(tmp_path):
    series = Series(UniformGrid.dealt((8, 4, 6), (1.0, 1.0, 1.0)), [Field("u", "m/s", (("sample", 2),)), Field("p")])
    (tmp_path / "snapshots").mkdir()
    with SnapshotWriter(tmp_path / "snapshots" / "flow.h5", series, MPI.COMM_SELF) as snapshots:
        for step in range(3):
            values = np.arange(192.0).reshape(8, 4, 6) + step
            snapshots.append(step / 4, {"u": np.stack([values, -values]), "p": values})
    return tmp_path


def test_every_step_is_a_line(run, capsys):
    assert main(["watch", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1] == "flow step 1 t = 0.25   p 1 to 192, mean 96.5   u -192 to 192, mean 0 m/s"


def test_the_newest_step_is_drawn(run):
    assert main(["watch", str(run), "--png", "--once"]) == 0
    assert (run / "snapshots" / "flow.png").read_bytes()[:4] == b"\x89PNG"


def test_many_fields_are_drawn_in_rows(tmp_path):
    from matplotlib.image import imread

    series = Series(UniformGrid.dealt((4, 6), (1.0, 1.0)), [Field(f"u{number}") for number in range(10)])
    with SnapshotWriter(tmp_path / "flow.h5", series, MPI.COMM_SELF) as snapshots:
        snapshots.append(0.0, {f"u{number}": np.full((4, 6), number) for number in range(10)})
    assert main(["watch", str(tmp_path), "--png", "--once"]) == 0
    height, width, _ = imread(tmp_path / "flow.png").shape
    assert (width, height) == (4 * 4.5 * 90, 3 * 4 * 90)


def mesh_of(points, run):
    mesh = UnstructuredGrid.joined(np.array(points), {"triangle": [[0, 1, 2]], "quadrilateral": [[0, 1, 3, 2]]}, MPI.COMM_SELF)
    with SnapshotWriter(run / "flow.h5", Series(mesh, [Field("u"), Field("p", "Pa", at="cells")]), MPI.COMM_SELF) as snapshots:
        snapshots.append(0.0, {"u": np.arange(4), "p": np.array([1.0, 3.0])})
    return run


def test_a_mesh_in_the_plane_is_watched_and_drawn(tmp_path, capsys):
    run = mesh_of([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], tmp_path)
    assert main(["watch", str(run), "--png"]) == 0
    assert capsys.readouterr().out == "flow step 0 t = 0   p 1 to 3, mean 2 Pa   u 0 to 3, mean 1.5\n"
    assert (run / "flow.png").read_bytes()[:4] == b"\x89PNG"


def test_a_mesh_in_space_is_watched_but_not_drawn(tmp_path, capsys):
    run = mesh_of([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]], tmp_path)
    assert main(["watch", str(run)]) == 0
    assert main(["watch", str(run), "--png"]) == 2 and "open flow.xdmf in ParaView" in capsys.readouterr().err


def test_points_that_move_are_drawn_where_they_are(tmp_path, monkeypatch):
    mesh = UnstructuredGrid.joined(np.zeros((2, 2)), {"vertex": [[0], [1]]}, MPI.COMM_SELF)
    names = [f"{kind}_{axis}" for kind in ("truth", "prediction") for axis in "xy"]
    fields = [Field(name, "", (("sample", 2),), coordinates=tuple(f"{name.partition('_')[0]}_{axis}" for axis in "xy")) for name in names]
    with SnapshotWriter(tmp_path / "run.h5", Series(mesh, fields), MPI.COMM_SELF) as snapshots:
        for step in range(2):
            values = {name: 100.0 * step + 10.0 * place + np.array([[0, 1], [8, 9]]) for place, name in enumerate(names)}
            snapshots.append(step, values)
    drawn = []
    monkeypatch.setattr(
        PlaneMesh, "draw", lambda mesh, axis, *_, **__: drawn.append(mesh.points.tolist()) or axis.scatter(*mesh.points.T, c=[0, 1])
    )
    assert main(["watch", str(tmp_path), "--png", "--once"]) == 0
    truth, prediction = [[100.0, 110.0], [101.0, 111.0]], [[120.0, 130.0], [121.0, 131.0]]
    assert drawn == [prediction, prediction, truth, truth]


def test_a_writer_that_died_is_told(tmp_path, capsys):
    path = tmp_path / "run.h5"
    assert subprocess.run([sys.executable, "-c", DIES, path], timeout=300).returncode == -9
    assert main(["watch", str(path)]) == 1
    assert "u 1 to 1, mean 1" in (out := capsys.readouterr().out) and f"{path}: the writer ended before its last step" in out


def test_nothing_to_watch_is_an_error(tmp_path, capsys):
    for words in ([tmp_path / "none"], [tmp_path, "--once"]):
        assert main(["watch", *map(str, words)]) == 2
        assert "there are no snapshots at" in capsys.readouterr().err


def test_units_of_another_cannot_act_on_a_terminal(tmp_path, capsys):
    series = Series(UniformGrid.dealt((4,), (1.0,)), [Field("u", "µm\x1b[2J\nhpcml: all is well")])
    with SnapshotWriter(tmp_path / "flow.h5", series, MPI.COMM_SELF) as snapshots:
        snapshots.append(0.0, {"u": np.ones(4)})
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "µm\\x1b[2J\\nhpcml: all is well\n" in capsys.readouterr().out
