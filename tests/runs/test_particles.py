"""Cases of particles: generated alike on any number of ranks, learned from and rolled out as on one."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.cli.picture import draw_animation, draw_picture, read_rollout
from hpcml.core.case import Case, Generation
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.equations import build_equation
from hpcml.io import SnapshotFile
from hpcml.io.dataset import Field, open_dataset
from hpcml.mpi.world import World
from hpcml.runs.equation_space import equation_space
from hpcml.runs.generate import generate
from hpcml.runs.simulation import trajectories
from hpcml.runs.train_case import train_case
from tests.runs.beside_one_rank import beside_one_rank

TABLES = {
    "equation": {"name": "charged_particles", "side": 2, "softening": 0.4},
    "data": {"kind": "simulation", "trajectories": 3, "held_out": 2, "snapshots": 3, "interval": 0.25},
}

LEARNING = {
    "model": {"name": "particle_net", "radius": 0.9, "channels": 4, "steps": 1, "cutoff": 4.0, "period": [2.0, 2.0, 2.0]},
    "training": {"epochs": 2, "batch_size": 2, "dtype": "float64", "learning_rate": 1e-3, "noise": 0.01},
    "output": {"rollout_steps": 2},
}

GRAINS = LEARNING | {
    "equation": {"name": "falling_block", "columns": 2, "rows": 2, "width": 3.3, "heights": [0.1, 0.2], "stiffness": 200.0, "damping": 5.0},
    "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 3, "interval": 0.05},
    "model": {"name": "particle_net", "radius": 1.5, "channels": 4, "steps": 1, "walls": [[0.0, 3.3], [0.0, 100.0]]},
}


@pytest.mark.parallel([1, 2, 3])
def test_files_are_the_same_bytes_on_any_number_of_ranks(world, shared_path):
    case = complete_config(TABLES, Generation, "case")
    paths = generate(case, shared_path / "charges", world)
    equation = build_equation(case.equation)
    with open_dataset(paths[1], world.comm) as dataset:
        space = dataset.description
        moving = [Field(name, 1) for name in ("position", "velocity", "acceleration")]
        assert space.fields == (*moving, Field("charge", varies_in_time=False))
        assert (space.num_nodes, space.num_edges, space.num_trajectories, space.times) == (8, 0, 2, (0.0, 0.25, 0.5))
        with equation_space(equation, None, case.ranks, world.comm) as graph:  # all ranks share one trajectory
            states = torch.cat(list(trajectories(equation, case.data, graph, range(4, 5), 3, False)))
            whole = graph.gather(states).movedim(-1, 1)
        torch.testing.assert_close(torch.from_numpy(dataset.read(1)).double(), whole, rtol=1e-6, atol=1e-6)  # float32 in files
    if world.rank == 0:
        with World.of(MPI.COMM_SELF) as single:
            alone = generate(case, shared_path / "alone" / "charges", single)
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in alone]


@pytest.mark.parallel([2])
@pytest.mark.parametrize("tables", [TABLES | LEARNING, GRAINS], ids=["charges", "grains"])
def test_motion_is_trained_measured_and_rolled_out_as_on_one_rank(world, shared_path, tables):
    case = complete_config(tables, Case, "case")
    errors, rolled, errors_alone, rolled_alone = beside_one_rank(case, shared_path, world)
    assert errors == pytest.approx(errors_alone, rel=1e-6)
    for name in ("model", "persistence"):
        np.testing.assert_allclose(rolled[name], rolled_alone[name], rtol=1e-6)
    if world.rank == 0:
        text = (shared_path / "run" / "snapshots" / "rollout.xdmf").read_text()
        file = SnapshotFile(shared_path / "run")
        for name, variable in file.view.variables.items():
            kind = name.partition("_")[0]
            assert variable.coordinates == tuple(f"{kind}_position_{d}" for d in range(2 if tables is GRAINS else 3))
        assert text.count('<Grid Name="truth_position') == text.count('<Grid Name="prediction_position') == 3 * variable.shape[1]
        assert_moves_in_pictures(shared_path / "run", file, tables is GRAINS)


def assert_moves_in_pictures(run, file, in_plane):
    if not in_plane:
        with pytest.raises(ConfigError, match="open .* in ParaView"):
            read_rollout(run, 0, None)
        return
    shown = read_rollout(run, 0, "velocity_1")
    for kind, places in (("truth", shown.truth_places), ("prediction", shown.prediction_places)):
        for d in range(2):
            assert np.array_equal(places[..., d], file.read(f"{kind}_position_{d}", (slice(None), 0)))
    assert (np.ptp(shown.truth_places, 0) > 0).any(0).all()
    for draw in (draw_picture, draw_animation):
        assert draw(shown, run / f"rollout.{'png' if draw is draw_picture else 'gif'}").stat().st_size > 10_000


@pytest.mark.parallel([1, 2])
def test_what_is_learned_from_moves_too(world, shared_path):
    train_case(complete_config(GRAINS | {"snapshots": {"simulation": True}}, Case, "case"), shared_path / "run", world)
    if world.rank == 0:
        file = SnapshotFile(shared_path / "run" / "snapshots" / "simulation.h5")
        assert {variable.coordinates for variable in file.view.variables.values()} == {("position_0", "position_1")}


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_learn_what_one_rank_learns(world, shared_path):
    """Groups of ranks with samples of their own, each of which shares the particles."""
    groups = complete_config(TABLES | LEARNING | {"ranks": {"data": 2}}, Case, "case")
    errors = train_case(groups, shared_path / "groups", world)
    expected = None
    if world.rank == 0:
        with World.of(MPI.COMM_SELF) as alone:
            expected = train_case(complete_config(TABLES | LEARNING, Case, "case"), shared_path / "alone", alone)
    assert errors == pytest.approx(world.comm.bcast(expected), rel=1e-6)
