"""A case whose equation has a mesh of its own: simulated, trained, measured and rolled out by what does so with one on a grid."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.cli.picture import draw_picture, read_rollout
from hpcml.core.case import Case, Generation
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.equations import build_equation
from hpcml.graphs import Triangles
from hpcml.io.dataset import Field, open_dataset
from hpcml.runs.check_case import check_case
from hpcml.runs.evaluation import evaluate_run
from hpcml.runs.experiment import open_experiment
from hpcml.runs.generate import generate
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.simulation import trajectories
from tests.runs.beside_one_rank import beside_one_rank

TABLES = {
    "equation": {"name": "cylinder_wake", "cells": 4, "length": 0.8},
    "solver": {"name": "projection", "tolerance": 1e-9},
    "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 3, "interval": 0.01},
    "model": {"name": "mesh_graph_net", "channels": 4, "steps": 1, "hidden_layers": 1},
    "training": {"epochs": 1, "batch_size": 2, "dtype": "float64", "learning_rate": 1e-3},
    "output": {"rollout_steps": 2},
    "snapshots": {"simulation": True},
}


def case_of(schema=Case, **tables):
    return complete_config(TABLES | tables, schema, "case")


@pytest.mark.parallel([2])
def test_it_is_trained_measured_and_rolled_out_as_on_one_rank(world, shared_path):
    comm, case = world.comm, case_of()
    errors, rolled, errors_alone, rolled_alone = beside_one_rank(case, shared_path, world)
    assert errors == pytest.approx(errors_alone, rel=1e-6)
    for name in ("model", "persistence"):  # the truth is simulated anew, by as many ranks as there are, to the solver's tolerance
        np.testing.assert_allclose(rolled[name], rolled_alone[name], rtol=1e-5)
    whole = torch.randn(2, len(build_equation(case.equation).mesh().points), 5, dtype=torch.float64, generator=torch.manual_seed(0))
    surrogate, single = (hpcml.load(shared_path / "run", comm=ranks) for ranks in (comm, MPI.COMM_SELF))
    later = surrogate.space.gather(surrogate(surrogate.space.scatter(whole)))
    torch.testing.assert_close(later, single(whole), rtol=1e-10, atol=1e-12)
    other = case_of(Generation, equation={"name": "cylinder_wake", "cells": 5, "length": 0.8, "radius": 0.06})
    thicker = generate(other, shared_path / "thicker", world)[1]  # a model is at home on any mesh
    assert 0 < evaluate_run(RunDirectory(shared_path / "run"), world, [str(thicker)])[str(thicker)] < 10
    if comm.rank == 0:
        shown = read_rollout(shared_path / "run", 0, None)
        assert shown.name == "velocity_0" and len(shown.mesh.triangles) == build_equation(case.equation).mesh().num_cells
        assert draw_picture(shown, shared_path / "rollout.png").stat().st_size > 10_000
        assert (shared_path / "run" / "snapshots" / "simulation.xdmf").exists()


OTHERS = [
    pytest.param({"name": "taylor_green", "cells": 8}, {"name": "closed_form"}, {"interval": 0.05}, id="vortices"),
    pytest.param({"name": "shallow_water_sphere", "levels": 2}, {"name": "rk4"}, {"interval": 3600.0}, id="sphere"),
]


@pytest.mark.parallel([2])
@pytest.mark.parametrize(("equation", "solver", "data"), OTHERS)
def test_other_equations_are_learned_as_on_one_rank(world, shared_path, equation, solver, data):
    case = case_of(equation=equation, solver=solver, data=TABLES["data"] | data)
    errors, rolled, errors_alone, rolled_alone = beside_one_rank(case, shared_path, world)
    assert errors == pytest.approx(errors_alone, rel=1e-6)
    for name in ("model", "persistence"):
        np.testing.assert_allclose(rolled[name], rolled_alone[name], rtol=1e-5)
    made = case_of(Generation, equation=equation, solver=solver, data=TABLES["data"] | data)
    path = generate(made, shared_path / "made", world)[1]
    assert evaluate_run(RunDirectory(shared_path / "run"), world, [str(path)])[str(path)] == pytest.approx(*errors.values(), rel=1e-5)
    if world.rank == 0:
        assert draw_picture(read_rollout(shared_path / "run", 0, "velocity_1"), shared_path / "rollout.png").stat().st_size > 10_000


@pytest.mark.parallel([1, 2])
def test_a_file_holds_what_the_solver_gives(world, shared_path):
    case = case_of(Generation)
    paths = generate(case, shared_path / "wake", world)
    assert generate(case, shared_path / "wake", world) == paths
    equation = build_equation(case.equation)
    with open_dataset(paths[0], world.comm) as dataset:
        space = dataset.description
        names = ("inflow", "outflow", "wall")
        assert space.fields == (Field("velocity", 1), *(Field(name, varies_in_time=False) for name in names))
        assert space.num_cells == {"triangle": equation.mesh().num_cells} and space.num_trajectories == 2
        with Triangles.of(equation.mesh(), MPI.COMM_SELF) as plane:
            states = torch.cat(list(trajectories(equation, case.data, plane, range(1, 2), 3, False, solver=case.solver)))
        assert np.array_equal(dataset.read(1), states.movedim(-1, 1).numpy().astype("f4"))


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_have_the_pairs_of_all(world):
    pairs = []
    for data in (1, 2):
        case = case_of(ranks={"data": data})
        experiment = open_experiment(case, world.comm)
        with experiment.space as space:
            pairs.append([space.gather(field) for field in experiment.train.take(torch.arange(4))])
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)  # the solver's tolerance
    assert pairs[0][0].shape[-1] == 5 and pairs[0][1].shape[-1] == 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"grid": {"shape": [8, 8]}}, "CylinderWake lives on a mesh of its own"),
        ({"equation": {"name": "heat"}, "solver": {"name": "rk4"}}, r"Heat lives on a grid: the case needs the table \[grid\]"),
        ({"equation": {"name": "cylinder_wake", "radius": 0.3}}, "needs a channel with half a radius of room"),
        ({"solver": {"name": "rk4"}}, "choose no Runge-Kutta method but 'projection'"),
        ({"model": {"name": "fno"}}, "is a model for grids"),
    ],
)
def test_what_does_not_go_together_is_known_before(world, tables, message):
    with pytest.raises(ConfigError, match=message):
        check_case(case_of(**tables), world.comm)
