"""From a case to a picture as a user does it, on real ranks; and a mistake ends with one clear error and nothing lost."""

import csv
import json
import shutil

import h5py
import pytest
import tomli_w
import torch


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mpiexec, alone, small_case):
    """Folder with the case, trained on one rank and on two."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "case.toml").write_text(tomli_w.dumps(small_case | {"output": {"rollout_steps": 3}}))
    for ranks in (1, 2):
        words = ("train", folder / "case.toml", "--run", folder / str(ranks))
        done = alone(*words) if ranks == 1 else hpcml(mpiexec, ranks, *words)
        assert done.returncode == 0, done.stderr
    return folder


def hpcml(mpiexec, ranks, *words, timeout=300):
    return mpiexec(ranks, "-m", "hpcml", *words, timeout=timeout)


def test_two_ranks_train_what_one_rank_trains(runs):
    def numbers(run):
        with (runs / run / "metrics.csv").open(newline="") as file:
            return [[float(row[k]) for k in ("train_loss", "valid_loss", "gradient_norm")] for row in csv.DictReader(file)]

    for one, two in zip(numbers("1"), numbers("2"), strict=True):
        assert two == pytest.approx(one, rel=1e-9)  # float64 sums in another order, through four updates
    left = {path.name for path in (runs / "2").iterdir()}
    assert left >= {"config.toml", "environment.json", "log", "metrics.csv", "checkpoints", "evaluation.json"}


def test_it_rolls_out_on_another_number_of_ranks_and_is_drawn(runs, mpiexec, alone):
    done = hpcml(mpiexec, 3, "rollout", runs / "2")
    assert done.returncode == 0 and "persistence" in done.stdout, done.stderr
    errors = json.loads((runs / "2" / "rollout.json").read_text())
    assert len(errors["model"]) == len(errors["persistence"]) == 3
    with h5py.File(runs / "2" / "snapshots" / "rollout.h5") as file:
        assert file["truth_vorticity"].shape == file["prediction_vorticity"].shape == (4, 1, 16, 16)
        assert file["time"][:] == pytest.approx([0, 0.05, 0.1, 0.15]) and file.attrs["complete"]
        truth, prediction = (torch.from_numpy(file[f"{name}_vorticity"][-1]) for name in ("truth", "prediction"))
    assert float((prediction - truth).norm() / truth.norm()) == pytest.approx(errors["model"][-1])
    assert alone("export", runs / "2").returncode == 0
    assert (runs / "2" / "rollout.png").read_bytes()[:4] == b"\x89PNG" and (runs / "2" / "rollout.gif").read_bytes()[:3] == b"GIF"


def test_a_finished_run_is_not_trained_again_and_goes_on_for_more_epochs(runs, mpiexec):
    done = hpcml(mpiexec, 2, "train", runs / "case.toml", "--run", runs / "1")
    assert done.returncode == 0 and "resuming after update 6" in done.stdout, done.stderr
    more = hpcml(mpiexec, 2, "train", runs / "case.toml", "--run", runs / "1", "--set", "training.epochs=3")
    assert more.returncode == 0 and len((runs / "1" / "metrics.csv").read_text().splitlines()) == 1 + 3, more.stderr
    other = hpcml(mpiexec, 2, "train", runs / "case.toml", "--run", runs / "1", "--set", "training.epochs=1")
    assert other.returncode == 2 and other.stderr.count("a run of another case") == 1


BAD = {
    "unknown key": (["--set", "training.epoch=3"], "did you mean training.epochs?"),
    "wrong type": (["--set", "training.epochs=many"], "training.epochs"),
    "impossible process grid": (["--set", "ranks.domain=[3, 1]"], "needs 3 ranks but there are 2"),
    "too many groups": (["--set", "ranks.data=3"], "cannot be cut into 3 groups"),
    "modes above Nyquist": (["--set", "model.modes=9"], "modes"),
    "batch too small": (["--set", "training.batch_size=1", "--set", "ranks.data=2"], "raise training.batch_size"),
}


@pytest.fixture(scope="module")
def changed(runs):
    """A copy of the run on two ranks whose configuration describes another model, and what its checkpoints hold."""
    config = shutil.copytree(runs / "2", runs / "changed") / "config.toml"
    config.write_text(config.read_text().replace("channels = 4", "channels = 5"))
    return config.parent, sorted(path.name for path in (config.parent / "checkpoints").rglob("*"))


@pytest.fixture(scope="module")
def mistakes(runs, changed, said):
    train = {name: ["train", f"{runs}/case.toml", "--run", f"{runs}/{name}", *words] for name, (words, _) in BAD.items()}
    return said(2, train | {"no case": ["train", runs / "none.toml"], "another model": ["rollout", changed[0]]})


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_in_the_case_is_raised_on_every_rank(name, mistakes):
    assert all(BAD[name][1] in said for said in mistakes[name]), mistakes[name]


def test_a_mistake_in_the_case_is_told_once(runs, mpiexec, tmp_path):
    words, message = BAD["impossible process grid"]
    done = hpcml(mpiexec, 2, "train", runs / "case.toml", "--run", tmp_path / "run", *words)
    assert done.returncode == 2 and done.stderr.count("hpcml: error:") == 1 and message in done.stderr, done.stderr


def test_a_missing_case_file_is_named(mistakes):
    assert all("cannot read the configuration" in said for said in mistakes["no case"]), mistakes["no case"]


def test_a_checkpoint_of_another_model_is_refused_and_stays(mistakes, changed):
    folder, before = changed
    assert all("of another model" in said for said in mistakes["another model"]), mistakes["another model"]
    assert before == sorted(path.name for path in (folder / "checkpoints").rglob("*"))
