"""Trainers learn from simulations of other ranks what one rank would have computed; whatever goes wrong ends or is counted, and is said."""

import csv
import json
import re

import pytest
import torch

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError, TopologyError, TrainingError
from hpcml.core.named import complete_config
from hpcml.fields import Grid, decompose
from hpcml.io import restore
from hpcml.online.ledger import AWAITED, KEPT, REFUSED, USED
from hpcml.runs.evaluation import evaluate_run
from hpcml.runs.load import load
from hpcml.runs.online_case import online_case
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.run_directory import RunDirectory

SHAPE, STEPS, SIMULATIONS = (7, 5), 6, 5

MINE = """
import torch

class Diffusion:
    '''A user's solver on any ranks: explicit, with one ghost cell.'''

    def __init__(self, domain, parameters, number):
        self.domain, self.rate = domain, parameters["rate"]
        self.u = torch.sin(domain.point_index.double() * (1 + number)).view(1, 1, *domain.local_shape)

    def step(self):
        now, (wide,) = self.u, self.domain.halo(self.u, widths=1)
        change = wide[..., 2:, 1:-1] + wide[..., :-2, 1:-1] + wide[..., 1:-1, 2:] + wide[..., 1:-1, :-2] - 4 * now
        self.u = now + self.rate * change
        return now[0]

def faulty(domain, parameters, number, kind="", at=2):
    '''A generator of arrays without channels; simulation number 1 does something at its third state.'''
    solver = Diffusion(domain, parameters, number)
    for step in range(100):
        state = solver.step()[0].numpy()
        if number == at and step == 2:
            if kind == "raises":
                raise ZeroDivisionError("no more heat")
            if kind == "shape":
                state = state[:-1]
            if kind == "ends":
                return
            if kind == "nan":
                state = state * float("nan")
        yield state

def whole_only(parameters):
    yield from ()

seen = []

def noting(domain, prediction, target):
    from hpcml.training.loss import mse
    seen.append(domain.gather(target.detach()))
    return mse(domain, prediction, target)
"""


@pytest.fixture
def mine(shared_path, comm, monkeypatch):
    if comm.rank == 0:
        (shared_path / "mine_online.py").write_text(MINE)
    comm.barrier()
    monkeypatch.syspath_prepend(str(shared_path))
    monkeypatch.delitem(__import__("sys").modules, "mine_online", raising=False)
    import mine_online

    yield mine_online
    comm.barrier()


def case_of(trainers=1, each=1, inputs="state", data=1, training=None, **changes):
    """A small case; changes are of its table of data."""
    given = {
        "kind": "online",
        "simulation": {"name": "mine_online:Diffusion"},
        "parameters": {"rate": [0.05, 0.2]},
        "simulations": SIMULATIONS,
        "held_out": 3,
        "steps": STEPS,
        "inputs": inputs,
        "capacity": 12,
        "watermark": 4,
        "ordered": True,
    }
    model = {"name": "parameter_mlp", "width": 8} if inputs == "parameters" else {"name": "fno", "channels": 2, "modes": 1, "layers": 1}
    learning = {"updates": 8, "batch_size": 4, "dtype": "float64", "loss": "mine_online:noting", "schedule": "constant"}
    tables = {
        "grid": {"shape": list(SHAPE)},
        "ranks": {"trainers": trainers, "per_simulation": each, "data": data, "device": "cpu"},
        "data": given | changes,
        "model": model,
        "training": learning | {"validate_every": 4} | (training or {}),
    }
    return complete_config(tables, Case, "case.toml")


def serial_states(mine, case):
    """What one rank computes: by bytes of a state, its simulation and step."""
    from mpi4py import MPI

    from hpcml.online.parameters import choose_parameters

    domain = decompose(Grid(SHAPE), MPI.COMM_SELF)
    rates = choose_parameters(case.data.parameters, range(SIMULATIONS), case.data.seed)[:, 0]
    found = {}
    for number, rate in enumerate(rates):
        solver = mine.Diffusion(domain, {"rate": float(rate)}, number)
        found |= {solver.step().numpy().tobytes(): (number, step) for step in range(STEPS)}
    return found


def splits(size):
    """Trainers and ranks of the one simulation that runs at a time, in a job of some size."""
    return [(trainers, size - trainers) for trainers in range(1, size)]


def marks_of(folder, comm):
    return restore(folder / "checkpoints", comm).state["stream"]["marks"]


def last_row(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.parallel([2, 3])
def test_simulations_end_with_a_training_that_is_good_enough(world, mine, shared_path):
    case = case_of(simulations=1000, training={"updates": 1000, "early_stopping": {"threshold": 1e9}})
    online_case(case, shared_path / "run", world)
    assert int(last_row(shared_path / "run")["step"]) == 4
    marks = marks_of(shared_path / "run", world.comm)
    online_case(case, shared_path / "run", world)  # there is nothing left to do
    assert (marks_of(shared_path / "run", world.comm) == marks).all() and (marks == AWAITED).sum() > 900 * (STEPS - 1)


@pytest.mark.parallel([2, 3, 4])
def test_what_is_learned_from_has_the_bits_of_the_serial_solver_on_any_split(world, mine, shared_path):
    for trainers, each in splits(world.size):
        for inputs in ("state", "parameters") if trainers == each == 1 else ("state",):
            mine.seen.clear()
            case = case_of(trainers, each, inputs, buffer="fifo", training={"updates": 100})
            folder = shared_path / f"{trainers}-{each}-{inputs}"
            assert online_case(case, folder, world).keys() == {"held out"}
            if world.rank < trainers:
                states, first = serial_states(mine, case), int(inputs == "state")
                held_out = 3 * (STEPS - first)
                learned = [states.get(state.numpy().tobytes()) for batch in mine.seen for state in batch]
                learned = [key for key in learned if key is not None]
                # Every sample was learned from once; validation, which is on others, called the loss as well.
                assert sorted(learned) == [(n, step) for n in range(SIMULATIONS) for step in range(first, STEPS)], (trainers, each)
                assert sum(len(batch) for batch in mine.seen) >= len(learned) + held_out
            marks = marks_of(folder, world.comm)
            assert (marks == USED).all()


@pytest.mark.parallel([2, 3, 4])
def test_a_run_that_stops_and_goes_on_ends_with_the_same_bits_and_on_other_ranks_with_every_sample(world, mine, shared_path):
    comm, size = world.comm, world.size
    trainers = 2 if size > 2 else 1
    for inputs in ("state",) if size == 3 else ("parameters",):
        options = {"inputs": inputs, "new_per_update": 2, "buffer": "reservoir"}
        whole, parts = shared_path / f"whole-{inputs}", shared_path / f"parts-{inputs}"
        online_case(case_of(trainers, training={"updates": 9}, **options), whole, world)
        for updates in (4, 9):
            online_case(case_of(trainers, training={"updates": updates}, **options), parts, world)
        one, two = (restore(folder / "checkpoints", comm).state for folder in (whole, parts))
        for name, value in one["model"].items():
            assert torch.equal(value, two["model"][name]), name
        assert (one["stream"]["marks"] == two["stream"]["marks"]).all()
        kept = (two["stream"]["marks"] == KEPT).sum(), (two["stream"]["marks"] == AWAITED).sum()
        assert kept[1] > 0, "the run is to end before its simulations"
        other = case_of(1, training={"updates": 200}, **options)  # one trainer, the others simulate: until nothing is left
        online_case(other, parts, world)
        assert (marks_of(parts, comm) == USED).all()


@pytest.mark.parallel([3, 4])
def test_groups_of_trainers_share_samples_and_updates(world, mine, shared_path):
    for inputs, training in (("state", {}), ("parameters", {"loss": "mse"})):
        folder = shared_path / inputs
        online_case(case_of(2, 1, inputs, data=2, training=training, ordered=False, buffer="fifo"), folder, world)
        state = restore(folder / "checkpoints", world.comm).state
        assert state["position"]["step"] > 0 and len(state["stream"]["groups"]) == 2 * 3


@pytest.mark.parallel([2, 3])
def test_a_run_is_taken_by_everything_that_takes_a_run(world, mine, shared_path):
    folder = shared_path / "run"
    errors = online_case(case_of(1, 1, ordered=False), folder, world)
    assert evaluate_run(RunDirectory(folder), world) == pytest.approx(errors, rel=1e-9)  # sums of other ranks, in float64
    assert not [path for path in folder.rglob("*.h5") if "step-" not in str(path)]
    rolled = rollout_case(folder, world, steps=4)
    assert len(rolled["model"]) == 4 and rolled["persistence"][3] > rolled["persistence"][0] > 0
    model = load(folder, comm=world.comm)
    assert model(torch.zeros(1, 2, *model.space.local_shape).double()).shape == (1, 1, *model.space.local_shape)
    if world.rank == 0:
        assert json.loads((folder / "evaluation.json").read_text())["relative_l2"]["held out"] == pytest.approx(errors["held out"])
        row = last_row(folder)
        assert 0 <= float(row["trainer_idle"]) <= 1 and 0 <= float(row["solver_stall"]) <= 1 and float(row["samples_in"]) >= 8


@pytest.mark.parallel([2, 3])
def test_states_that_are_not_finite_are_refused_and_counted(world, mine, shared_path):
    each = world.size - 1
    for inputs, lost in (("state", [1, 2]), ("parameters", [2])):
        simulation = {"name": "mine_online:faulty", "kind": "nan"}
        folder = shared_path / inputs
        online_case(case_of(1, each, inputs, simulation=simulation, buffer="fifo", training={"updates": 100}), folder, world)
        marks = marks_of(folder, world.comm)
        assert marks.tolist()[2] == [REFUSED if k in lost else USED for k in range(marks.shape[1])]
        assert (marks[[0, 1, 3, 4]] == USED).all()


BROKEN = {
    "raises": r"simulation 2 with the parameters \[0\.\d+\] has failed: ZeroDivisionError: no more heat",
    "shape": r"has failed: state 2 has the shape \(6, 5\)",
    "ends": r"has failed: it ended after 2 of data.steps = 6 states",
}


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_simulation_that_fails_is_named_on_all_ranks_or_left_out(world, mine, shared_path, kind):
    simulation = {"name": "mine_online:faulty", "kind": kind}
    case = case_of(simulation=simulation, buffer="fifo", training={"updates": 100})
    with pytest.raises(TrainingError, match=BROKEN[kind]):
        online_case(case, shared_path / "ends", world)
    allowed = case_of(simulation=simulation, buffer="fifo", training={"updates": 100}, max_failed=1)
    assert online_case(allowed, shared_path / "goes-on", world) is not None
    marks = marks_of(shared_path / "goes-on", world.comm)
    assert (marks[[0, 1, 3, 4]] == USED).all() and USED in marks[2] and marks[2, -1] not in (USED, KEPT, AWAITED)


@pytest.mark.parallel([2, 3])
def test_what_cannot_be_is_refused_on_all_ranks(world, mine, shared_path):
    size = world.size
    held_out_fails = {"name": "mine_online:faulty", "kind": "raises", "at": SIMULATIONS}
    wrong = [
        (case_of(size), TopologyError, f"{size} ranks cannot be {size} that train, and 1 for each simulation"),
        (case_of(1, size), TopologyError, f"start {size + 1} ranks"),
        (case_of(capacity=2_000_000_000), ConfigError, "lower data.capacity"),
        (case_of(simulation=held_out_fails), Exception, "held out has failed: ZeroDivisionError: no more heat"),
        (case_of(1, size - 1, simulation={"name": "mine_online:whole_only"}), Exception, "ranks share each|ended after 0"),
        (case_of(data=3, training={"batch_size": 6}), TopologyError, "cannot be cut into 3 groups"),
    ]
    for case, kind, text in wrong:
        with pytest.raises(kind, match=text):
            online_case(case, shared_path / "wrong", world)
    with pytest.raises(ConfigError, match="start hpcml train"):
        online_case(case_of().model_copy(update={"data": _tensors()}), shared_path, world)


def _tensors():
    from hpcml.core.case import Tensors

    return Tensors(kind="tensors", train="x.pt")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"watermark": 12}, "raise capacity"),
        ({"inputs": "state", "steps": 1}, "leaves no pair"),
        ({"parameters": {"rate": [1.0, 1.0]}}, "give the smaller first"),
        ({"training": {"updates": None, "epochs": 3}}, "training.updates"),
        ({"training": {"steps": 2}}, "training.steps"),
        ({"simulation": {"name": "mine_online:nobody"}}, "has no 'nobody'"),
        ({"buffer": {"name": "resevoir"}}, "did you mean 'reservoir'"),
        ({"simulation": None}, r"\[equation\] or data.simulation"),
    ],
)
def test_a_case_that_makes_no_sense_says_so(mine, change, text):
    with pytest.raises(ConfigError, match=text):
        case_of(**change)


@pytest.mark.parallel([2])
def test_an_equation_simulates_with_its_own_options_as_parameters(world, mine, shared_path):
    case = case_of(training={"loss": "mse"})
    data = case.data.model_copy(update={"simulation": None, "parameters": {"diffusivity": (0.01, 0.02)}, "interval": 0.01})
    tables = case.model_dump(mode="json")
    tables |= {"equation": {"name": "heat"}, "data": data.model_dump(mode="json")}
    tables["data"]["sampler"] = {"name": "residual", "every": 2, "pool": 3}
    whole = complete_config(_without_none(tables), Case, "case.toml")
    errors = online_case(whole, shared_path / "run", world)
    assert 0 < errors["held out"] < 1
    bad = whole.model_copy(update={"data": data.model_copy(update={"parameters": {"viscosity": (0.0, 1.0)}})})
    with pytest.raises(ConfigError, match=re.escape("data.parameters.viscosity: the equation 'heat' has no such option")):
        online_case(bad, shared_path / "bad", world)


def _without_none(tables):
    if isinstance(tables, dict):
        return {key: _without_none(value) for key, value in tables.items() if value is not None}
    return tables
