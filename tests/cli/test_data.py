"""Datasets as a user makes, changes and learns from them, on real ranks, through a kill."""

import hashlib
import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tomli_w
from the_well.data import WellDataset

from hpcml.cli.main import build_parser, main
from hpcml.core.errors import HpcmlError
from hpcml.io.dataset import create_dataset, open_dataset

DIES = """
import os, signal, sys
from hpcml.cli.main import main
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.mpi.launcher import detect
finish = GrowingDataset.finish
def finish_one(*args):
    finish(*args)
    if detect().rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
GrowingDataset.finish = finish_one
sys.exit(main(sys.argv[1:]))
"""


def digests(folder):
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.hdf5"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory, alone, small_case):
    """The dataset, made on one rank."""
    folder = tmp_path_factory.mktemp("made")
    waves = {"trajectories": 8, "held_out": 2, "interval": 0.02}
    tables = {"grid": small_case["grid"], "equation": {"name": "shallow_water"}, "data": small_case["data"] | waves}
    (folder / "case.toml").write_text(tomli_w.dumps(tables))
    done = alone("data", "generate", folder / "case.toml", "--out", folder / "waves")
    assert done.returncode == 0 and "complete: " in done.stdout, done.stderr
    return folder


def test_the_wells_loader_reads_it(made):
    train = WellDataset(path=str(made / "waves"), well_split_name="train")
    assert len(train) == 8 * 3 and train[0]["input_fields"].shape == (1, 16, 16, 3)
    assert len(WellDataset(path=str(made / "waves"), well_split_name="valid")) == 2 * 3
    assert train[5]["boundary_conditions"].tolist() == [[2, 2], [2, 2]]  # periodic
    with open_dataset(made / "waves" / "data" / "train") as dataset:
        assert dataset.description.constants["depth_constant"] == (1.0,) and dataset.description.channels[0] == "depth"
        assert dataset.read(0)[:, 0].mean() == pytest.approx(1.0, rel=1e-6)  # mass is kept; float32 rounds


@pytest.fixture(scope="module")
def killed(made, mpiexec):
    """Folder of a dataset that three ranks were making when rank 0 was killed, which had finished its first."""
    folder = made / "killed" / "waves"
    ended = mpiexec(3, "-c", DIES, "data", "generate", made / "case.toml", "--out", folder)
    progress = folder / "data" / "train" / "waves.hdf5.progress"
    assert ended.returncode != 0 and b"x" in progress.read_bytes().splitlines()[-1], ended.stderr
    assert progress.with_suffix(".partial").exists()
    return folder


@pytest.fixture(scope="module")
def others(made):
    """Files beside what it has learned from: of permuted fields, of another box, of other times, of values that are no numbers."""
    folder, valid = made / "others", made / "waves" / "data" / "valid"
    folder.mkdir()
    with open_dataset(valid) as dataset:
        space = dataset.description
        order = [*space.channels_of(["momentum"]), *space.channels_of(["depth"])]
        for name, changes in (("same", {}), ("box", {"coordinates": tuple(tuple(2 * c for c in row) for row in space.coordinates)})):
            permuted = replace(space, fields=space.fields[::-1], **changes)
            with create_dataset(folder / f"{name}.HDF5", "the-well", permuted) as copy:
                for trajectory in range(2):
                    copy.write(trajectory, 0, dataset.read(trajectory, channels=order))
    for name in ("times", "nan"):
        shutil.copy(valid / "waves.hdf5", folder / f"{name}.hdf5")
        with h5py.File(folder / f"{name}.hdf5", "r+") as file:
            if name == "times":
                file["dimensions/time"][:] = file["dimensions/time"][()] * 50
            file["t0_fields/depth"][0, 1, 3:5, 6:10] = np.nan
    return folder


@pytest.fixture(scope="module")
def answers(made, killed, others, small_case, said):
    """Of two ranks, to what they are asked to do with all these."""
    data = {"kind": "dataset", "path": f"{made}/waves/data/train", "test": [f"{made}/waves/data/valid"]}
    (made / "learn.toml").write_text(tomli_w.dumps({"data": data, "model": small_case["model"], "training": small_case["training"]}))
    run, train = made / "run", made / "waves" / "data" / "train"
    wrong = ("train", made / "learn.toml", "--run", others / "run", "--set", "data.inputs=[]", "--set")
    return said(
        2,
        {
            "go on": ("data", "generate", made / "case.toml", "--out", killed),
            "show": ("data", "show", train, "--values"),
            "convert": ("data", "convert", train, made / "waves.h5", "--to", "pdebench"),
            "train": ("train", made / "learn.toml", "--run", run),
            "roll out": ("rollout", run, "--steps", "3"),
            "beyond": ("rollout", run, "--steps", "4"),
            "same": ("evaluate", run, "--data", others / "same.HDF5"),
            "box": ("evaluate", run, "--data", others / "same.HDF5", others / "box.HDF5"),
            "times": (*wrong, f"data.test=['{others}/times.hdf5']"),
            "nan": (*wrong, f"data.path={others}/nan.hdf5"),
        },
    )


def test_any_number_of_ranks_makes_the_same_files_and_a_kill_does_not_change_them(made, killed, answers):
    assert answers["go on"].good and "8 trajectories, 0 of them" not in answers["go on"].output, answers["go on"]
    assert digests(killed) == digests(made / "waves")
    assert not list(killed.rglob("*.partial")) and not list(killed.rglob("*.progress"))


def test_it_is_shown_and_every_rank_reads_its_share(answers):
    assert answers["show"].good, answers["show"]
    for line in ("trajectories: 8", "times: 4, 0 to 0.06", "field momentum: vector", *(f"rank {r} read 0.05 MB, 50.0 %" for r in range(2))):
        assert line in answers["show"].output, answers["show"]


def test_it_becomes_pdebenchs(made, answers):
    assert answers["convert"].good and "8 trajectories of depth, momentum" in answers["convert"].output, answers["convert"]
    with open_dataset(made / "waves" / "data" / "train") as dataset, h5py.File(made / "waves.h5") as groups:
        for trajectory in range(8):
            assert np.array_equal(np.moveaxis(groups[f"{trajectory:04d}/data"][()], -1, 1), dataset.read(trajectory))


@pytest.fixture(scope="module")
def learned(made, answers):
    """The run that two ranks have learned from the dataset, and their errors, on what was held out and on the same in another order."""
    assert answers["train"].good, answers["train"]
    return made / "run", json.loads((made / "run" / "evaluation.json").read_text())["relative_l2"]


def test_it_is_trained_on_and_every_rank_reads_its_share(made, learned, answers, alone):
    run, errors = learned
    text = answers["train"].output
    assert "rank 0 read 0.05 MB, 50.0 % of the 0.10 MB of waves" in text, text  # once, through two epochs and all statistics
    error = errors[str(made / "waves" / "data" / "valid")]
    assert 0 < error < 1
    (run / "evaluation.json").unlink()
    done = alone("evaluate", run)
    assert done.returncode == 0, done.stderr
    (again,) = json.loads((run / "evaluation.json").read_text())["relative_l2"].values()
    assert again == pytest.approx(error, rel=1e-9)  # float64 sums in another order


def test_what_learned_from_it_is_rolled_out_beside_it_in_either_layout(made, learned, answers, alone):
    run, _ = learned
    valid = made / "waves" / "data" / "valid"
    assert answers["roll out"].good and "step 3: relative L2 error" in answers["roll out"].output, answers["roll out"]
    errors = json.loads((run / "rollout.json").read_text())
    with open_dataset(valid) as dataset, h5py.File(run / "snapshots" / "rollout.h5") as file:
        assert file["time"][:] == pytest.approx([0, 0.02, 0.04, 0.06]) and file["prediction_depth"].shape == (4, 2, 16, 16)
        names = dataset.description.channels
        for sample in range(2):
            stored = dataset.read(sample)
            for number, name in enumerate(names):
                assert np.array_equal(file[f"truth_{name}"][:, sample].swapaxes(1, 2), stored[:, number])
        predicted = {name: file[f"prediction_{name}"][()] for name in names}
        assert all(np.array_equal(found[0], file[f"truth_{name}"][0]) for name, found in predicted.items())
    shutil.copytree(run, made / "other")
    config = made / "other" / "config.toml"
    assert alone("data", "convert", valid, made / "valid.h5", "--to", "pdebench").returncode == 0
    config.write_text(config.read_text().replace(str(valid), str(made / "valid.h5")))
    done = alone("rollout", made / "other", "--steps", "3", "--trajectories", "1")
    assert done.returncode == 0, done.stderr
    with h5py.File(made / "other" / "snapshots" / "rollout.h5") as file:
        names = [name for name in file if name.startswith("prediction_")]
        for name, found in zip(sorted(names), (predicted[key] for key in sorted(predicted)), strict=True):
            assert np.allclose(file[name][:, 0], found[:, 0], rtol=0, atol=1e-12), name  # the same sums in another order
    assert errors["model"][0] < 1 and len(errors["persistence"]) == 3


def test_permuted_fields_are_the_same_data_on_any_number_of_ranks(made, learned, others, answers):
    assert answers["same"].good, answers["same"]
    errors = learned[1]
    error = errors[str(made / "waves" / "data" / "valid")]
    assert errors[str(others / "same.HDF5")] == pytest.approx(error, rel=1e-9)  # float64 sums in another order


REFUSED = {
    "beyond": "has 4 times, enough to compare 3 steps",
    "box": "box.HDF5 does not go with ",
    "times": "times.hdf5 does not go with ",
    "nan": "nan.hdf5: 8 values are not finite, the first of depth in trajectory 0, time 1, cell ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_of_no_use_is_refused_on_every_rank_before_anything_is_computed(name, answers, others):
    assert answers[name].all_say(REFUSED[name]), answers[name]
    assert name != "box" or answers[name].all_say("the box along x should be 0 to 1, got 0 to 2")
    assert not (others / "run" / "metrics.csv").exists()


@pytest.mark.parallel([1, 2])
def test_partitions_of_a_mesh_are_tried_without_the_ranks(comm, shared_path, capsys):
    """One line for each, the same on any number of ranks; what cannot be tried is said."""
    path, picture = shared_path / "sphere.ply", shared_path / "parts.png"
    sources, writers = pytest.importorskip("vtkmodules.vtkFiltersSources"), pytest.importorskip("vtkmodules.vtkIOPLY")
    if comm.rank == 0:
        sphere, writer = sources.vtkSphereSource(), writers.vtkPLYWriter()
        sphere.SetThetaResolution(40)
        sphere.SetPhiResolution(40)
        writer.SetFileName(str(path))
        writer.SetInputConnection(sphere.GetOutputPort())
        assert writer.Write()
    comm.Barrier()
    words = ["data", "partition", str(path), "--ranks", "4", "100", "--method", "bisection", "curve", "--png", str(picture)]
    assert main(words) == 0
    title, _, _, *rows = comm.bcast(capsys.readouterr().out.splitlines())
    assert title == f"{path}: 1522 nodes, 9120 edges" and [row.split()[:2] for row in rows] == [
        [method, ranks] for ranks in ("4", "100") for method in ("bisection", "curve")
    ]
    assert rows[0].split()[4] == "1.001" and picture.stat().st_size > 10_000
    args = build_parser().parse_args(["data", "partition", str(path), "--ranks", "2", "--method", "x"])
    with pytest.raises(HpcmlError, match="expected bisection, curve"):
        args.run(args)
