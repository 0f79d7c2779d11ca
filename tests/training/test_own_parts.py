"""One's own model, equation, loss, schedule and optimiser go through a whole run, as the how-to says; what is not shared is told."""

import csv
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError, HpcmlError, TrainingError
from hpcml.core.named import complete_config
from hpcml.core.options import Choice
from hpcml.fields import Grid, decompose
from hpcml.models.factory import build_network
from hpcml.mpi.world import World
from hpcml.runs.evaluation import evaluate_run
from hpcml.runs.experiment import open_experiment
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.train_case import train_case
from hpcml.topology.block import block_range
from hpcml.training.loss import mse

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "own_parts.md").read_text(encoding="utf-8")

MORE = '''

from dataclasses import dataclass

from hpcml.core.errors import TrainingError
from hpcml.equations import Equation
from hpcml.solvers import Solver


@dataclass(frozen=True)
class Decay(Equation):
    """du/dt = -rate u"""

    rate: float = 1.0

    def channels(self, num_dims):
        return ("u",)

    def tendency(self, state, domain):
        return -self.rate * state

    def initial_state(self, domain, samples, seed=0):
        x, y = domain.centres()
        return torch.stack([torch.sin(6.28 * (x + y + 0.1 * n)) for n in samples])[:, None]

    def stable_step(self, domain, state=None):
        return 1.0 / self.rate


class Euler(Solver):
    def __init__(self, equation, domain, dt, substeps: int = 4):
        self.equation, self.space, self.dt, self.substeps = equation, domain, dt, substeps

    def advance(self, state):
        for _ in range(self.substeps):
            state = state + self.dt / self.substeps * self.equation.tendency(state, self.space)
        return state


def errors(outcome):
    from hpcml.training.relative_error import relative_errors

    found = relative_errors(outcome.space, outcome.prediction, outcome.truth).mean()
    if outcome.space.comm.rank == 0:
        with (outcome.folder / "errors.txt").open("a") as file:
            print(outcome.source, *outcome.channels, float(found), file=file)


class Live(Drawn):
    def load_state_dict(self, state):
        raise TrainingError("what the instrument measured is gone")


class Elsewhere(Drawn):
    def __init__(self, domain, samples):
        super().__init__(domain.serial(), samples)


def nobody():
    pass


class Nothing:
    def __init__(self, path):
        pass


class Gone:
    def __init__(self, path):
        raise OSError("the tape is gone")


class Turned(Arrays):
    def read(self, trajectory, time, cells):
        return super().read(trajectory, time, cells).swapaxes(1, 2)


class Torn(Arrays):
    def read(self, trajectory, time, cells):
        raise OSError("the tape is torn")


class Outside(Net):
    """With a parameter whose gradient nobody sums."""

    def __init__(self, domain, in_channels: int, out_channels: int) -> None:
        super().__init__(domain, in_channels, out_channels)
        self.gate = torch.nn.Parameter(torch.ones(1))

    def forward(self, u):
        return self.gate * super().forward(u)


class Whole(torch.nn.Sequential):
    """Of torch's layers alone."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(torch.nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="circular"))


def local(domain, prediction, target):
    return (prediction - target).square().mean()
'''


PARTS = {
    "model": "mine:Net",
    "equation": "mine:Decay",
    "solver": "mine:Euler",
    "loss": "mine:cubic",
    "optimiser": "torch.optim:SGD",
    "schedule": "mine:warm_up",
    "layout": "mine:Arrays",
    "stream": "mine:Drawn",
    "postprocess": "mine:Energy",
}
"""What an installed package offers, each as my_KIND."""


@pytest.fixture
def mine(comm, shared_path, monkeypatch):
    """The how-to's module, and more, where Python finds it; and its tables of a case."""
    if comm.rank == 0:
        (shared_path / "mine.py").write_text("".join(re.findall(r"```python\n(.*?)```", HOWTO, re.S)) + MORE)
        info = shared_path / "mine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("".join(f"[hpcml.{kind}]\nmy_{kind} = {target}\n" for kind, target in PARTS.items()))
    comm.Barrier()
    monkeypatch.syspath_prepend(str(shared_path))
    return tomllib.loads(re.search(r"```toml\n(.*?)```", HOWTO, re.S)[1])


def case_of(tables, model=None, **training):
    training = {"epochs": 2, "batch_size": 4, "dtype": "float64"} | tables["training"] | training
    equation = {"name": "mine:Decay", "rate": 2.0}
    data = {"kind": "simulation", "trajectories": 4, "held_out": 1, "snapshots": 4, "interval": 0.1}
    rest = {"model": model or tables["model"], "training": training, "output": {"rollout_steps": 2, "rollout": {"name": "mine:Energy"}}}
    solver = {"name": "mine:Euler", "substeps": 3}
    return {"grid": {"shape": [12, 12]}, "equation": equation, "solver": solver, "data": data} | rest


def completed(tables):
    return complete_config(tables, Case, "case")


def renamed(tables):
    """The tables with the short names of the package."""
    short = {target: f"my_{kind}" for kind, target in PARTS.items()}
    if isinstance(tables, dict):
        return {key: renamed(value) for key, value in tables.items()}
    return short.get(tables, tables) if isinstance(tables, str) else tables


@pytest.fixture
def named(comm):
    """Tables with the short names on an odd number of ranks, as they are on an even one: every rank looks names up alone."""
    return renamed if comm.size % 2 else dict


@pytest.mark.parallel([1, 2, 3])
def test_they_train_restart_and_roll_out(world, shared_path, mine, named):
    case, run = completed(named(case_of(mine))), shared_path / "run"
    errors = train_case(case, run, world)
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-3, 1e-3])  # the warm-up is over after a fifth
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert train_case(case, run, world) == errors  # finished: nothing is done again
    assert len(rollout_case(run, world)["model"]) == 2
    longer = completed(named(case_of(mine, epochs=4)))
    if world.rank == 0:
        with World.of(MPI.COMM_SELF) as alone:
            train_case(case, shared_path / "alone", alone)
    world.comm.Barrier()
    # Begun on one rank and on all: sums differ by round-off, which the optimiser does not amplify in twelve updates.
    assert train_case(longer, shared_path / "alone", world) == pytest.approx(train_case(longer, run, world), rel=1e-10)


MISTAKES = {
    "model": (("model", "widht", 4), "unknown key model.widht: did you mean model.width?"),
    "equation": (("equation", "rat", 1.0), "unknown key equation.rat: did you mean equation.rate?"),
    "solver": (("solver", "substep", 4), "unknown key solver.substep: did you mean solver.substeps?"),
    "loss": (
        ("training", "loss", {"name": "mine:cubic", "powr": 2.0}),
        "key training.loss.powr: did you mean training.loss.power?",
    ),
    "optimiser": (
        ("training", "optimiser", {"name": "torch.optim:SGD", "momentm": 0.5}),
        "unknown key training.optimiser.momentm: did you mean training.optimiser.momentum?",
    ),
    "schedule": (
        ("training", "schedule", {"name": "mine:warm_up", "shar": 0.1}),
        "unknown key training.schedule.shar: did you mean training.schedule.share?",
    ),
    "postprocess": (
        ("output", "rollout", {"name": "mine:Energy", "fil": "a"}),
        "output.rollout.fil: did you mean output.rollout.file?",
    ),
    "a type": (
        ("solver", "substeps", "many"),
        "solver.substeps: expected a valid integer, got 'many'",
    ),
    "a name": (("training", "loss", "mine:cubik"), "training.loss.name: 'mine:cubik': mine has no 'cubik': did you mean 'cubic'?"),
    "a short name": (("training", "loss", "my_los"), "of a loss of your own, got 'my_los': did you mean 'my_loss'?"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_their_options_read_like_those_of_hpcml_s_own(mine, mistake):
    (table, key, value), words = MISTAKES[mistake]
    tables = case_of(mine)
    for each in (tables, renamed(tables)):
        each[table][key] = value
        with pytest.raises(ConfigError) as caught:
            completed(each)
        assert words in str(caught.value)


@pytest.fixture
def arrays(comm, shared_path, mine, monkeypatch):
    """A case of the how-to's second half, and its files."""
    monkeypatch.chdir(shared_path)
    if comm.rank == 0:
        for split, count in (("train", 3), ("test", 2)):
            (shared_path / "arrays" / split).mkdir(parents=True)
            for number in range(count):
                first = np.random.default_rng(number + 5 * count).standard_normal((12, 10))
                np.save(shared_path / "arrays" / split / f"u_{number}.npy", np.stack([first * 0.5**time for time in range(4)]))
    comm.Barrier()
    tables = tomllib.loads(re.findall(r"```toml\n(.*?)```", HOWTO, re.S)[1])
    tables["output"] |= {"evaluation": "mine:errors", "rollout_steps": 3}
    return tables | {"model": {"name": "mine:Net", "width": 4}, "training": {"epochs": 1, "batch_size": 3, "steps": 2, "dtype": "float64"}}


@pytest.mark.parallel([1, 2])
def test_own_files_are_learned_from_and_own_results_written(world, shared_path, arrays):
    run = shared_path / "run"
    errors = train_case(complete_config(arrays, Case, "case"), run, world)
    rolled = rollout_case(run, world)
    arrays["output"]["rollout"]["file"] = "again.csv"
    assert train_case(complete_config(arrays, Case, "case"), run, world) == errors  # another output is no other case
    rollout_case(run, world)
    if world.rank == 0:
        told = [line.split() for line in (run / "errors.txt").read_text().splitlines()]
        assert [line[:2] for line in told] == [["arrays/test", "u"]] * 4  # two evaluations of six pairs, three at a time
        assert (float(told[0][2]) + float(told[1][2])) / 2 == pytest.approx(errors["arrays/test"])
        table = [row.split(",") for row in (run / "energy.csv").read_text().splitlines()]
        assert [row[0] for row in table[1:]] == ["0.0", "0.1", "0.2", "0.30000000000000004"] and len(rolled["model"]) == 3
        start = [np.load(shared_path / "arrays" / "test" / f"u_{n}.npy")[0] for n in range(2)]
        assert float(table[1][1]) == pytest.approx(sum((u**2).sum() for u in start))
        assert (run / "again.csv").read_text() == (run / "energy.csv").read_text()


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"name": "mine:Arrays", "intervall": 0.1}, r"unknown key data\.layout\.intervall: did you mean data\.layout\.interval\?"),
        ("mine:Arays", "data.layout.name: 'mine:Arays': mine has no 'Arays': did you mean 'Arrays'\\?"),
        (
            "the-wel",
            r"data\.layout: expected one of .*'the-well', .*'mesh', or 'module:name' of a .*, got 'the-wel': did you mean",
        ),
        ("the-well", "the folder arrays/train holds no"),
        ("mine:Net", r"data\.layout\.domain is missing"),
        ("mine:Gone", "data.layout = 'mine:Gone' cannot open arrays/train: OSError: the tape is gone"),
        ("mine:Nothing", "expected an attribute description, which is a hpcml.io.dataset.Description, and a method read"),
        ("mine:Turned", r"reads trajectory 0, time 0 of arrays/train as float64 of \(1, 10, 1?.*\): expected real numbers \(channel, "),
        ("mine:Torn", "reads trajectory 0, time 0 of arrays/train: OSError: the tape is torn"),
    ],
)
def test_what_a_layout_gets_wrong_is_told_on_every_rank(world, arrays, layout, words):
    arrays["data"]["layout"] = layout
    with pytest.raises(HpcmlError, match=words):
        open_experiment(complete_config(arrays, Case, "case"), world.comm).surrogate()


@pytest.fixture
def streamed(arrays):
    """The case of arrays, which learns from the how-to's stream."""
    arrays["training"] = tomllib.loads(re.findall(r"```toml\n(.*?)```", HOWTO, re.S)[2])["training"] | {"dtype": "float64"}
    arrays["training"] |= {"schedule": "constant", "validate_every": 2}
    return arrays


@pytest.mark.parallel([1, 2, 3])
def test_a_stream_gives_the_updates_and_goes_on_on_other_ranks(world, shared_path, streamed, named):
    whole = train_case(completed(named(streamed)), shared_path / "whole", world)
    streamed["training"] |= {"updates": 5}
    if world.rank == 0:
        with World.of(MPI.COMM_SELF) as alone:
            train_case(completed(named(streamed)), shared_path / "run", alone)
    world.comm.Barrier()
    streamed["training"] |= {"updates": 12}
    # The same updates, of which one rank did the first five: sums differ by round-off.
    assert train_case(completed(named(streamed)), shared_path / "run", world) == pytest.approx(whole, rel=1e-10)
    assert (
        rollout_case(shared_path / "run", world)["model"] and evaluate_run(RunDirectory(shared_path / "run"), world).keys() == whole.keys()
    )
    if world.rank == 0:
        with (shared_path / "run" / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["2", "4", "5", "6", "8", "10", "12"] and float(rows[-1]["train_loss"]) < float(
            rows[0]["train_loss"]
        )


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("stream", "updates", "words"),
    [
        ({"name": "mine:Drawn", "sise": 2}, 2, "unknown key training.stream.sise: did you mean training.stream.size?"),
        ("mine:Net", 2, "training.stream.in_channels is missing"),
        ("mine:Nothing", 2, "training.stream.path is missing"),
        ("mine:warm_up", 2, "training.stream.done is missing"),
        ("mine:nobody", 2, "training.stream = 'mine:nobody' makes NoneType, which is no hpcml.data.Stream"),
        ("mine:Elsewhere", 2, "gives fields on a space of its own: take the domain of the data, which the model has"),
        ("mine:Drawn", None, "the data have no epochs: say how many updates to do with training.updates"),
    ],
)
def test_what_a_stream_gets_wrong_is_told_on_every_rank(world, shared_path, streamed, stream, updates, words):
    streamed["training"] |= {"stream": stream}
    del streamed["training"]["updates"]
    with pytest.raises(ConfigError) as caught:
        train_case(
            completed(streamed | {"training": streamed["training"] | ({"updates": updates} if updates else {})}), shared_path / "run", world
        )
    assert words in str(caught.value)


@pytest.mark.parallel([1, 2])
def test_a_stream_that_cannot_go_on_says_so_when_started_again(world, shared_path, streamed):
    streamed["training"] |= {"stream": "mine:Live", "updates": 2}
    train_case(completed(streamed), shared_path / "run", world)
    streamed["training"] |= {"updates": 4}
    with pytest.raises(TrainingError, match="what the instrument measured is gone"):
        train_case(completed(streamed), shared_path / "run", world)


@pytest.mark.parallel([2])
@pytest.mark.parametrize(
    ("model", "training", "error", "words"),
    [
        (None, {"loss": "mine:local"}, TrainingError, "sum what is local with hpcml.parallel.global_sum"),
        ({"name": "mine:Outside"}, {}, ConfigError, "network.gate on rank 1 of 2: it is used outside the layers"),
        ({"name": "mine:Whole"}, {}, ConfigError, "takes no domain, so it computes on whole fields, and here 2 ranks share each"),
    ],
)
def test_what_is_not_shared_ends_the_run_with_its_name(world, shared_path, mine, model, training, error, words):
    with pytest.raises(error) as caught:
        train_case(completed(case_of(mine, model, **training)), shared_path / "run", world)
    assert words in str(caught.value)


@pytest.mark.parallel([1, 2])
def test_a_plain_torch_model_learns_in_groups_what_it_learns_alone(comm, mine):
    def weights(comm, domain):
        model = build_network(Choice(name="mine:Whole"), domain, 1, 1, dtype=torch.float64)
        whole = torch.randn(4, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        share = block_range(4, domain.num_data, domain.data_index)
        x = whole[share.start : share.stop]
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            mse(domain, model(x), x.roll(1, -1)).backward()
            optimiser.step()
        return model.state_dict()

    with decompose(Grid((12, 12)), comm, data=comm.size) as groups, decompose(Grid((12, 12)), MPI.COMM_SELF) as alone:
        for ours, expected in zip(weights(comm, groups).values(), weights(MPI.COMM_SELF, alone).values(), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)  # sums in another order
