"""The data that a run simulates: made once, kept in the run directory, read at every start, on any number of ranks."""

import hashlib
import logging
from pathlib import Path

import torch

from hpcml.core.case import Case, Dataset, Generation, Simulation
from hpcml.data.cells_read import CellsRead
from hpcml.equations import build_equation
from hpcml.io.dataset import open_dataset
from hpcml.io.files.agree import together
from hpcml.mpi import StopSignal
from hpcml.mpi.world import World
from hpcml.runs.equation_fields import simulated_pair
from hpcml.runs.equation_space import check_place, coordinates_of, equation_space, geometry_of
from hpcml.runs.generate import generate, origin_of, stored_bytes
from hpcml.runs.room import check_room
from hpcml.runs.trajectory_writer import TrajectoryWriter

_log = logging.getLogger(__name__)


def simulated_data(case: Case, folder: Path, world: World, stop: StopSignal | None = None) -> list[Path] | None:
    """Simulate the trajectories that a case trains on and those that it holds out, unless they are there already.

    Parameters
    ----------
    case : Case
        Whose ``data.kind`` is ``"simulation"``.
    folder : Path
        Run directory. Gets ``data/train/simulation-ORIGIN.hdf5`` and ``data/valid/simulation-ORIGIN.hdf5``, where ORIGIN stands for all
        that the values depend on.
    world : World
        All ranks.
    stop : StopSignal, optional
        Asked after every step of a solver.

    Returns
    -------
    list of Path, or None
        The two files; None if a signal ended the work. What is complete by then stays.

    Raises
    ------
    ConfigError, SolverError, CheckpointError
        On every rank, as `hpcml.runs.generate.generate`; also where the disk has no room for them.

    Communication
    -------------
    Collective over world.comm.
    """
    assert isinstance(case.data, Simulation) and case.equation is not None
    check_place(build_equation(case.equation), case.grid, case.ranks)
    spec = Generation(grid=case.grid, equation=case.equation, solver=case.solver, data=case.data)
    name = f"simulation-{hashlib.sha256(origin_of(spec).encode()).hexdigest()[:8]}"
    paths = [folder / "data" / split / f"{name}.hdf5" for split in ("train", "valid")]
    with together(world.comm, f"looking for what was simulated in {folder}"):
        missing = [path for path in paths if world.rank == 0 and not path.exists()]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            check_room(folder, *stored_bytes(spec))
    if world.comm.bcast(bool(missing)):
        return generate(spec, folder, world, name, stop)
    _log.info("%s: simulated before", folder / "data")
    return paths


def as_dataset(case: Case, path: Path) -> Dataset:
    """How the pairs of a case lie in such a file: a state and the next, or the coefficient and the solution of a steady problem."""
    assert case.equation is not None
    equation = build_equation(case.equation)
    inputs, targets = (tuple(f.name for f in pair) for pair in simulated_pair(equation, coordinates_of(equation, case.grid)))
    return Dataset(kind="dataset", path=str(path), inputs=inputs, targets=targets, stride=0 if equation.steady else 1)


def write_snapshots(case: Case, path: Path, snapshots: Path, world: World) -> None:
    """Write the trajectories of such a file as snapshots, to be looked at.

    Communication
    -------------
    Collective over world.comm: each rank reads and writes its own block.
    """
    assert case.equation is not None
    ranks = case.ranks.model_copy(update={"domain": "auto", "data": 1})
    with equation_space(build_equation(case.equation), case.grid, ranks, world.comm) as where, open_dataset(path, world.comm) as dataset:
        space, cells = dataset.description, CellsRead(where)
        names = {name: name for name in space.channels}
        with TrajectoryWriter(snapshots, case, geometry_of(where), where, names, space.num_trajectories) as writer:
            for number, time in enumerate(space.times):
                read = [cells.read(dataset, run, number, range(len(names))) for run in range(space.num_trajectories)]
                states = torch.stack([torch.as_tensor(state) for state in read])
                writer.write(time, dict(zip(names, states.unbind(1), strict=True)))


def channels_of(case: Case) -> tuple[int, int]:
    """Channels of an input and of a target of such a case."""
    assert case.equation is not None
    equation = build_equation(case.equation)
    count, given = len(equation.channels(coordinates_of(equation, case.grid))), len(equation.given)
    return (given if equation.steady else count), count - given
