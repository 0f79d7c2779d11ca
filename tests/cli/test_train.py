"""From a case to a picture as a user does it, on real ranks; and a mistake ends with one clear error and nothing lost."""

import csv
import json
import shutil

import h5py
import pytest
import tomli_w
import torch

BAD = {
    "unknown key": (["--set", "training.epoch=3"], "did you mean training.epochs?"),
    "wrong type": (["--set", "training.epochs=many"], "training.epochs"),
    "impossible process grid": (["--set", "ranks.domain=[3, 1]"], "needs 3 ranks but there are 2"),
    "too many groups": (["--set", "ranks.data=3"], "cannot be cut into 3 groups"),
    "modes above Nyquist": (["--set", "model.modes=9"], "modes"),
    "batch too small": (["--set", "training.batch_size=1", "--set", "ranks.data=2"], "raise training.batch_size"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, alone, small_case):
    """Folder with the case, a run of it on one rank, and a copy of that to go on with."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "case.toml").write_text(tomli_w.dumps(small_case | {"output": {"rollout_steps": 3}}))
    done = alone("train", folder / "case.toml", "--run", folder / "1")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "1", folder / "further")
    return folder


@pytest.fixture(scope="module")
def two(runs, said):
    """Answers of two ranks: to the case, to a run that one rank has finished, to mistakes."""

    def train(run, *words):
        return "train", f"{runs}/case.toml", "--run", f"{runs}/{run}", *words

    good = {"case": train("2"), "again": train("further"), "more": train("further", "--set", "training.epochs=3")}
    bad = {name: train(name, *words) for name, (words, _) in BAD.items()}
    return said(2, good | bad | {"less": train("further", "--set", "training.epochs=1"), "no case": ("train", runs / "none.toml")})


@pytest.fixture(scope="module")
def changed(runs, two):
    """A copy of the run on two ranks whose configuration describes another model, and what its checkpoints hold."""
    assert two["case"].good, two["case"]
    config = shutil.copytree(runs / "2", runs / "changed") / "config.toml"
    config.write_text(config.read_text().replace("channels = 4", "channels = 5"))
    return config.parent, sorted(path.name for path in (config.parent / "checkpoints").rglob("*"))


@pytest.fixture(scope="module")
def three(runs, changed, said):
    """Answers of three ranks to what two have trained."""
    return said(3, {"rollout": ("rollout", runs / "2"), "another model": ("rollout", changed[0])})


def test_two_ranks_train_what_one_rank_trains(runs, two):
    assert two["case"].good, two["case"]

    def numbers(run):
        with (runs / run / "metrics.csv").open(newline="") as file:
            return [[float(row[k]) for k in ("train_loss", "valid_loss", "gradient_norm")] for row in csv.DictReader(file)]

    for one, two in zip(numbers("1"), numbers("2"), strict=True):
        assert two == pytest.approx(one, rel=1e-9)  # float64 sums in another order, through four updates
    left = {path.name for path in (runs / "2").iterdir()}
    assert left >= {"config.toml", "environment.json", "log", "metrics.csv", "checkpoints", "evaluation.json"}


def test_it_rolls_out_on_another_number_of_ranks_and_is_drawn(runs, three, alone):
    assert three["rollout"].good and "persistence" in three["rollout"].output, three["rollout"]
    errors = json.loads((runs / "2" / "rollout.json").read_text())
    assert len(errors["model"]) == len(errors["persistence"]) == 3
    with h5py.File(runs / "2" / "snapshots" / "rollout.h5") as file:
        assert file["truth_vorticity"].shape == file["prediction_vorticity"].shape == (4, 1, 16, 16)
        assert file["time"][:] == pytest.approx([0, 0.05, 0.1, 0.15]) and file.attrs["complete"]
        truth, prediction = (torch.from_numpy(file[f"{name}_vorticity"][-1]) for name in ("truth", "prediction"))
    assert float((prediction - truth).norm() / truth.norm()) == pytest.approx(errors["model"][-1])
    assert alone("export", runs / "2").returncode == 0
    assert (runs / "2" / "rollout.png").read_bytes()[:4] == b"\x89PNG" and (runs / "2" / "rollout.gif").read_bytes()[:3] == b"GIF"


def test_a_finished_run_is_not_trained_again_and_goes_on_for_more_epochs(runs, two):
    assert two["again"].good and "resuming after update 6" in two["again"].output, two["again"]
    assert two["more"].good and len((runs / "further" / "metrics.csv").read_text().splitlines()) == 1 + 3, two["more"]
    assert two["less"].all_say("a run of another case"), two["less"]


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_in_the_case_is_raised_on_every_rank(name, two):
    assert two[name].all_say(BAD[name][1]), two[name]


def test_a_mistake_in_the_case_is_told_once(runs, mpiexec, tmp_path):
    words, message = BAD["impossible process grid"]
    done = mpiexec(2, "-m", "hpcml", "train", runs / "case.toml", "--run", tmp_path / "run", *words)
    assert done.returncode == 2 and done.stderr.count("hpcml: error:") == 1 and message in done.stderr, done.stderr


def test_a_missing_case_file_is_named(two):
    assert two["no case"].all_say("cannot read the configuration"), two["no case"]


def test_a_checkpoint_of_another_model_is_refused_and_stays(three, changed):
    folder, before = changed
    assert three["another model"].all_say("of another model"), three["another model"]
    assert before == sorted(path.name for path in (folder / "checkpoints").rglob("*"))
