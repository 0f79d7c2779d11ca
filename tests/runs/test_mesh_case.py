"""A case whose data lie on a mesh: every command does with it what it does with one on a grid, on any number of ranks."""

import json

import h5py
import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.cli.picture import draw_picture, read_rollout
from hpcml.core.case import Case
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.named import complete_config
from hpcml.graphs import Graph, triangulated
from hpcml.io.checkpoint import restore
from hpcml.io.dataset import Field, MeshRows, create_dataset, open_dataset
from hpcml.mpi.world import World
from hpcml.runs.evaluation import evaluate_run
from hpcml.runs.experiment import open_experiment
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.train_case import train_case
from hpcml.training import Trainer
from tests.runs.beside_one_rank import beside_one_rank

NODES, TIMES = 70, 6
ROUND_OFF = {"rtol": 1e-8, "atol": 1e-10}
"""Of some updates in float64, which magnify that of sums over ranks."""


OWN = """
import torch

class Net(torch.nn.Linear):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
"""


def mesh_of(nodes=NODES, dims=2):
    return triangulated(np.random.default_rng(5).random((nodes, dims)))


def write(path, comm, trajectories, seed=0, fields=("height", "wall"), turn=False, nodes=NODES, dims=2):
    """Waves over random triangles, and which nodes are near the boundary; every rank makes them, the first writes."""
    mesh = mesh_of(nodes, dims)
    rows = MeshRows(mesh.points[:, ::-1] if turn else mesh.points, mesh.edges(), mesh.cells)
    entries = [Field("height", unit="m"), Field("wall", varies_in_time=False), Field("wind")]
    entries = [entry for entry in entries if entry.name in fields]
    if comm.rank == 0:
        space = rows.describe("waves", entries, trajectories, np.arange(TIMES) * 0.1, MPI.COMM_SELF)
        with create_dataset(path, "mesh", space, mesh=rows) as dataset:
            for trajectory in range(trajectories):
                phase = np.random.default_rng([seed, trajectory]).random() + np.arange(TIMES)[:, None] * 0.3
                height = np.sin(mesh.points[:, :2] @ [3.0, 2.0] + phase)
                values = {"height": height, "wall": np.broadcast_to(mesh.node_types, height.shape), "wind": height**2}
                dataset.write(trajectory, 0, np.stack([values[entry.name] for entry in entries], 1))
    comm.Barrier()
    return str(path)


def case_of(train, test=(), *, model=None, grid=None, **training):
    tables = {
        "data": {"kind": "dataset", "path": train, "test": list(test), "inputs": ["height", "wall"], "targets": ["height"]},
        "model": model or {"name": "mesh_graph_net", "channels": 6, "steps": 2, "hidden_layers": 1},
        "training": {"epochs": 2, "batch_size": 4, "dtype": "float64", **training},
        "output": {"rollout_steps": 4},
    }
    return complete_config(tables | ({"grid": grid} if grid else {}), Case, "case")


@pytest.mark.parallel([3])
def test_it_is_trained_measured_and_rolled_out_as_on_one_rank(world, shared_path):
    comm = world.comm
    train, test = write(shared_path / "train.h5", comm, 3), write(shared_path / "test.h5", comm, 2, seed=1)
    case = case_of(train, [test], steps=2)
    errors, rolled, errors_alone, rolled_alone = beside_one_rank(case, shared_path, world)
    assert errors == pytest.approx(errors_alone, rel=1e-8)
    np.testing.assert_allclose(rolled["model"], rolled_alone["model"], **ROUND_OFF)
    if comm.rank == 0:
        assert json.loads((shared_path / "run" / "rollout.json").read_text())["model"] == rolled["model"]
        shown = read_rollout(shared_path / "run", 0, None)
        assert shown.name == "height" and shown.truth.shape == (5, NODES) and len(shown.mesh.triangles) == len(mesh_of().cells["triangle"])
        order = np.lexsort(shown.mesh.points.T)
        other = read_rollout(shared_path / "alone", 0, None)
        np.testing.assert_allclose(shown.prediction[:, order], other.prediction[:, np.lexsort(other.mesh.points.T)], **ROUND_OFF)
        assert draw_picture(shown, shared_path / "rollout.png").stat().st_size > 10_000


@pytest.mark.parallel([3])
def test_with_the_same_bits_it_is_the_very_run_of_one_rank(world, shared_path):
    comm = world.comm
    train, test = write(shared_path / "train.h5", comm, 2), write(shared_path / "test.h5", comm, 1, seed=1)
    case = case_of(train, [test], dtype="float32", clip=0.5)
    case = case.model_copy(update={"ranks": case.ranks.model_copy(update={"same_bits": True})})
    done = train_case(case, shared_path / "run", world), rollout_case(shared_path / "run", world)
    alone = None
    if comm.rank == 0:
        with World.of(MPI.COMM_SELF) as one:
            alone = train_case(case, shared_path / "alone", one), rollout_case(shared_path / "alone", one)
    assert comm.bcast(alone) == done
    states = [restore(shared_path / name / "checkpoints", comm).state["model"] for name in ("run", "alone")]
    for name, value in states[0].items():
        assert np.array_equal(value, states[1][name]), name


def with_ranks(case, **ranks):
    return case.model_copy(update={"ranks": case.ranks.model_copy(update=ranks)})


@pytest.mark.parallel([1, 2])
def test_overlapped_it_learns_what_it_learns_synchronously(world, shared_path):
    comm = world.comm
    train, test = write(shared_path / "train.h5", comm, 2), write(shared_path / "test.h5", comm, 1, seed=1)
    errors = [
        train_case(with_ranks(case_of(train, [test]), schedule=schedule), shared_path / schedule, world)
        for schedule in ("synchronous", "overlapped")
    ]
    assert errors[1] == pytest.approx(errors[0], rel=ROUND_OFF["rtol"])


@pytest.mark.parallel([1, 2, 4])
def test_in_stages_it_learns_what_it_learns_without_and_keeps_the_same_state(world, shared_path):
    comm = world.comm
    train, test = write(shared_path / "train.h5", comm, 2), write(shared_path / "test.h5", comm, 1, seed=1)
    stages = {"stages": min(comm.size, 2), "micro_batches": 3}
    plain = train_case(case_of(train, [test]), shared_path / "plain", world)
    assert train_case(case_of(train, [test], pipeline=stages), shared_path / "run", world) == pytest.approx(plain, rel=ROUND_OFF["rtol"])
    states = [restore(shared_path / name / "checkpoints", comm).state["model"] for name in ("run", "plain")]
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], **ROUND_OFF)


@pytest.mark.parametrize(
    ("ranks", "words"), [({"schedule": "late"}, "overlapped"), ({"schedule": "overlapped", "same_bits": True}, "one order of work")]
)
def test_a_schedule_that_there_cannot_be_is_refused(ranks, words):
    with pytest.raises(ConfigError, match=words):
        complete_config(case_of("train.h5").model_dump(mode="json", exclude_none=True) | {"ranks": ranks}, Case, "case")


@pytest.mark.parallel([1, 2])
def test_the_model_of_a_run_loads_on_any_ranks_and_mesh(world, shared_path):
    comm = world.comm
    train = write(shared_path / "train.h5", comm, 2)
    train_case(case_of(train), shared_path / "run", world)
    x = torch.randn(2, NODES, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = hpcml.load(shared_path / "run", comm=MPI.COMM_SELF)(x)
    for mesh in (None, train):
        model = hpcml.load(shared_path / "run", mesh=mesh, comm=comm)
        torch.testing.assert_close(model.space.gather(model(model.space.scatter(x))), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parallel([1, 3])
def test_on_another_mesh_a_run_is_measured_and_loaded_as_on_one_rank(world, shared_path):
    """Whose nodes are others, in another number."""
    comm = world.comm
    train, other = write(shared_path / "train.h5", comm, 2), write(shared_path / "other.h5", comm, 2, seed=1, nodes=45)
    train_case(case_of(train, [other]), shared_path / "run", world)
    error = evaluate_run(RunDirectory(shared_path / "run"), world, [other])[other]
    x = torch.randn(2, 45, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = hpcml.load(shared_path / "run", mesh=other, comm=MPI.COMM_SELF)
    model = hpcml.load(shared_path / "run", mesh=other, comm=comm)
    torch.testing.assert_close(model.space.gather(model(model.space.scatter(x))), expected(x), rtol=1e-10, atol=1e-12)
    with open_dataset(other) as dataset:
        values = (
            torch.from_numpy(np.stack([dataset.read(k) for k in range(2)])).double().movedim(2, -1)
        )  # (trajectory, time, node, channel)
    with torch.no_grad():
        found = expected(values[:, :-1].flatten(0, 1))
    target = values[:, 1:, :, :1].flatten(0, 1)
    assert error == pytest.approx(float(((found - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)).mean()), rel=1e-8)


@pytest.mark.parallel([1, 2])
def test_what_is_given_is_given_after_what_is_predicted(world, shared_path):
    """An oracle of conditions: the channels of the input are those of the targets, then the others, at every step of a roll-out."""
    comm = world.comm
    train = write(shared_path / "train.h5", comm, 2)
    experiment = open_experiment(case_of(train, [write(shared_path / "test.h5", comm, 1, seed=1)]), comm)
    nodes, mesh = experiment.space.nodes, mesh_of()
    x, y = experiment.train.take(torch.arange(experiment.train.num_samples))
    assert torch.equal(x[..., 1], torch.from_numpy(mesh.node_types)[nodes].double().expand(len(x), -1)) and y.shape[-1] == 1
    with open_dataset(train) as dataset:
        stored = torch.from_numpy(np.stack([dataset.read(k)[:, 0] for k in range(2)])).double()[..., nodes]
    assert torch.equal(x[..., 0], stored[:, :-1].flatten(0, 1)) and torch.equal(y[..., 0], stored[:, 1:].flatten(0, 1))
    model = experiment.surrogate()
    with torch.no_grad():
        after = experiment.space.with_given(model(x), x)
        assert torch.equal(after[..., 1], x[..., 1]) and torch.equal(after[..., :1], model(x))
    experiment.close()


@pytest.mark.parallel([1, 2])
def test_what_does_not_depend_on_time_is_read_once_for_all_times(world, shared_path):
    train = write(shared_path / "train.h5", world.comm, 2)
    experiment = open_experiment(case_of(train), world.comm)
    pairs = experiment.train
    for _ in range(2):
        pairs.take(torch.arange(pairs.num_samples))
    (span,) = [len(nodes) and int(nodes.max() - nodes.min()) + 1 for nodes in [experiment.space.nodes]]  # a stretch of the file
    assert pairs.dataset.bytes_read == 2 * (TIMES + 1) * span * 4  # height at every time, and wall, in float32
    experiment.close()


@pytest.mark.parallel([1, 2])
def test_a_mesh_that_a_model_cannot_be_loaded_on_is_told_on_every_rank(world, shared_path):
    comm = world.comm
    train, deep = write(shared_path / "train.h5", comm, 2), write(shared_path / "deep.h5", comm, 1, dims=3)
    train_case(case_of(train), shared_path / "run", world)
    refused = [
        ({"shape": (8, 8)}, ConfigError, "has learned on a mesh: take mesh="),
        ({"mesh": deep}, ConfigError, "has the dims x, y, z, and the model has learned on one of x, y"),
        ({"mesh": str(shared_path / "none.h5")}, CheckpointError, "there is no dataset .*none.h5.*by mesh="),
    ]
    for options, kind, words in refused:
        with pytest.raises(kind, match=words):
            hpcml.load(shared_path / "run", comm=comm, **options)
    comm.Barrier()
    if comm.rank == 0:
        (shared_path / "train.h5").unlink()
    comm.Barrier()
    with pytest.raises(CheckpointError, match="there is no dataset .*train.h5.*name any dataset on a mesh by mesh="):
        hpcml.load(shared_path / "run", comm=comm)


@pytest.mark.parallel([1, 2])
def test_a_mesh_that_cannot_be_dealt_leaves_no_communicator(world, shared_path, monkeypatch):
    comm = world.comm
    case = with_ranks(case_of(write(shared_path / "train.h5", comm, 1)), same_bits=True)

    def number():
        one = MPI.COMM_SELF.Dup()
        handle = one.py2f()
        one.Free()
        return handle

    def fails(*arguments):
        raise ConfigError("no deal")

    monkeypatch.setattr(Graph, "deal_within", fails)
    numbers = []
    for _ in range(3):
        with pytest.raises(ConfigError, match="no deal"):
            open_experiment(case, comm)
        numbers.append(number())
    assert len(set(numbers)) == 1


@pytest.mark.parallel([1, 2])
def test_a_network_without_the_same_bits_is_refused_before_it_learns(world, shared_path, monkeypatch):
    comm = world.comm
    if comm.rank == 0:
        (shared_path / "plain_of_nodes.py").write_text(OWN)
    comm.Barrier()
    monkeypatch.syspath_prepend(shared_path)
    train = write(shared_path / "train.h5", comm, 1)
    case = with_ranks(case_of(train, model={"name": "plain_of_nodes:Net"}), same_bits=True)
    experiment = open_experiment(case, comm)
    with pytest.raises(ConfigError, match="the parameter weight belongs to no layer that has the same bits"):
        experiment.surrogate()
    with pytest.raises(ConfigError, match="the parameter 0.weight belongs to no layer"):
        Trainer(torch.nn.Sequential(torch.nn.Linear(2, 1)), experiment.train)
    experiment.close()


@pytest.mark.parallel([1, 2])
def test_held_out_data_on_the_same_mesh_validate(world, shared_path):
    comm = world.comm
    train, test = write(shared_path / "train.h5", comm, 2), write(shared_path / "test.h5", comm, 1, seed=1)
    experiment = open_experiment(case_of(train, [test]), comm)
    assert experiment.held_out[test].space is experiment.space and experiment.validation is experiment.held_out[test]
    with experiment.space:
        experiment.close()


@pytest.mark.parallel([1, 2])
def test_what_does_not_go_with_a_mesh_is_refused_on_every_rank(world, shared_path):
    comm = world.comm
    train = write(shared_path / "train.h5", comm, 2)
    blown = write(shared_path / "blown.h5", comm, 2, fields=("height", "wall", "wind"))
    windy = case_of(blown, steps=2).model_copy()
    data = windy.data.model_copy(update={"inputs": ("height", "wind")})
    refused = [
        (case_of(train, model={"name": "fno", "channels": 4, "modes": 2}), "'fno' is a model for grids, and these data lie on a mesh"),
        (case_of(train, grid={"shape": [NODES]}), "lies on a mesh of 70 nodes: leave out the table .grid. and ranks.domain"),
        (windy.model_copy(update={"data": data}), "data.inputs names wind after the targets, which vary in time"),
    ]
    for number, (case, message) in enumerate(refused):
        with pytest.raises(ConfigError, match=message):
            train_case(case, shared_path / f"run{number}", world)


@pytest.mark.parallel([1, 2])
def test_a_run_does_not_go_on_with_another_mesh(world, shared_path):
    comm = world.comm
    train = write(shared_path / "train.h5", comm, 2)
    train_case(case_of(train), shared_path / "run", world)
    comm.Barrier()
    write(shared_path / "other.h5", comm, 2, turn=True)
    if comm.rank == 0:
        (shared_path / "other.h5").replace(train)
    comm.Barrier()
    with pytest.raises(ConfigError, match="the mesh should be"):
        train_case(case_of(train), shared_path / "run", world)


@pytest.mark.parallel([1, 2])
def test_every_file_of_a_folder_is_on_the_mesh_that_it_was_made_with(world, shared_path):
    comm = world.comm
    (shared_path / "data").mkdir(exist_ok=True)
    comm.Barrier()
    for name in ("a.h5", "b.h5"):
        write(shared_path / "data" / name, comm, 1)
    if comm.rank == 0:
        with h5py.File(shared_path / "data" / "b.h5", "r+") as file:
            file["mesh/points"][:2] = file["mesh/points"][:2][::-1]
    comm.Barrier()
    with pytest.raises(CheckpointError, match=r"b\.h5: its mesh is not the one"):
        train_case(case_of(str(shared_path / "data")), shared_path / "run", world)


@pytest.mark.parallel([1, 2])
def test_files_of_a_folder_may_lie_on_different_meshes(world, shared_path):
    comm = world.comm
    for folder in ("train", "test"):
        (shared_path / folder).mkdir(exist_ok=True)
    comm.Barrier()
    for name, nodes in {"train/a.h5": 30, "train/b.h5": 50, "train/c.h5": 30, "test/d.h5": 50, "test/e.h5": 40}.items():
        write(shared_path / name, comm, 1, seed=nodes, nodes=nodes)
    case = case_of(str(shared_path / "train"), [str(shared_path / "test")], steps=2, push_forward=True, noise=0.01)
    groups = case.model_copy(update={"ranks": case.ranks.model_copy(update={"data": comm.size})})
    errors = train_case(groups, shared_path / "run", world)
    assert list(errors) == [str(shared_path / "test" / name) for name in ("d.h5", "e.h5")]
    assert evaluate_run(RunDirectory(shared_path / "run"), world) == pytest.approx(errors, rel=1e-10)
    assert len(rollout_case(shared_path / "run", world)["model"]) == 4
    loaded = hpcml.load(shared_path / "run", comm=MPI.COMM_SELF)
    assert loaded.space.num_points_global == 30
    alone = None
    if comm.rank == 0:
        with World.of(MPI.COMM_SELF) as one:
            alone = train_case(case, shared_path / "alone", one)
    assert comm.bcast(alone) == pytest.approx(errors, rel=1e-8)


def test_a_network_that_knows_no_mesh_learns_on_all_nodes_of_one(world, tmp_path, monkeypatch):
    (tmp_path / "mine_of_nodes.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    experiment = open_experiment(case_of(write(tmp_path / "train.h5", world.comm, 2), model={"name": "mine_of_nodes:Net"}), world.comm)
    model = experiment.surrogate()
    x = experiment.train.take(torch.tensor([0, 1]))[0]
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
        torch.testing.assert_close(model(x), x[..., :1] + model.target_mean)
    assert model.space is experiment.space
    experiment.close()


def test_a_loss_of_grids_is_refused(world, tmp_path):
    with pytest.raises(ConfigError, match="'h1' takes derivatives along the dims of a grid"):
        train_case(case_of(write(tmp_path / "train.h5", world.comm, 2), loss="h1"), tmp_path / "run", world)
