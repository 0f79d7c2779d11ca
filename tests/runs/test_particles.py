"""Cases of particles: generated alike on any number of ranks."""

import pytest
import torch
from mpi4py import MPI

from hpcml.core.case import Generation
from hpcml.core.named import complete_config
from hpcml.equations import build_equation
from hpcml.io.dataset import Field, open_dataset
from hpcml.mpi.world import World
from hpcml.runs.equation_space import equation_space
from hpcml.runs.generate import generate
from hpcml.runs.simulation import trajectories

TABLES = {
    "equation": {"name": "charged_particles", "side": 2, "softening": 0.4},
    "data": {"kind": "simulation", "trajectories": 3, "held_out": 2, "snapshots": 3, "interval": 0.25},
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
