"""Simulate the trajectories of a case into files of The Well's layout, on any number of ranks, through any number of interruptions.

    ranks   = groups, each with the process grid ranks.domain of the case (by default one rank, more where the grid has over 2^24 cells)
    group g   simulates the trajectories g, g + groups, ... that are not done yet and writes every state as it comes

A trajectory is computed alone, on a process grid that the case fixes and with one thread for each rank, so that its bits depend on nothing
else.
"""

import logging
import math
from pathlib import Path

from mpi4py import MPI

from hpcml.core.case import Generation, Ranks
from hpcml.core.config import to_toml
from hpcml.core.errors import HpcmlError, TopologyError
from hpcml.core.progress import progress
from hpcml.equations import Equation, build_equation
from hpcml.fields.domain import Domain
from hpcml.io.dataset import Description, MeshRows
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.io.files.agree import together
from hpcml.mpi import StopSignal
from hpcml.mpi.agreement import agree_on_error, raise_together
from hpcml.mpi.host_copy import to_host
from hpcml.mpi.patience import lenient
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World
from hpcml.parallel.space import Space
from hpcml.runs.equation_fields import equation_fields
from hpcml.runs.equation_space import blocks_of, check_place, coordinates_of, equation_space, rows_of_mesh
from hpcml.runs.room import check_room
from hpcml.runs.simulation import trajectories
from hpcml.topology.process_grid import check_dims

_log = logging.getLogger(__name__)


CELLS_PER_RANK = 1 << 24
"""Of a trajectory, at most, as long as there are ranks: some twenty fields of that size are held at a time, 3 GB."""


class _StoppedError(Exception):
    """Raised on every rank of a group that is to stop."""


def stored_bytes(case: Generation) -> tuple[int, str, str]:
    """Bytes that the trajectories of a case take, what they are and how they become fewer, as `check_room` wants it.

    Communication
    -------------
    Local.
    """
    data, equation = case.data, build_equation(case.equation)
    points = len(equation.mesh().points) if case.grid is None else math.prod(case.grid.shape)
    values = _times(case, equation) * len(equation.channels(coordinates_of(equation, case.grid))) * points
    return 4 * (data.trajectories + data.held_out) * values, "the trajectories of this case", "lower data.trajectories or data.snapshots"


@one_torch_thread()
def generate(case: Generation, folder: Path, world: World, name: str | None = None, stop: StopSignal | None = None) -> list[Path] | None:
    """Simulate what a case describes.

    Parameters
    ----------
    case : Generation
        Grid, equation and the table ``[data]``.
    folder : Path
        Gets ``data/train/NAME.hdf5`` with ``data.trajectories`` trajectories and ``data/valid/NAME.hdf5`` with ``data.held_out``. Called
        again after an interruption, what is missing is simulated; what is complete stays.
    world : World
        All ranks.
    name : str, optional
        NAME, by default that of the folder.
    stop : StopSignal, optional
        Asked after every step of a solver.

    Returns
    -------
    list of Path, or None
        The files; None if a signal ended the work before its end.

    Raises
    ------
    ConfigError, TopologyError, SolverError, CheckpointError
        On every rank. Trajectories that were complete stay so.

    Communication
    -------------
    Collective over world.comm at the beginning and at the end of each file; in between each group of ranks works alone.

    Notes
    -----
    The same case gives the same files, byte for byte, on any number of ranks of one kind of machine. Values are float32, as the layout
    demands; the solver works in float64.
    """
    check_place(build_equation(case.equation), case.grid, case.ranks)
    with together(world.comm, f"looking for room in {folder}"):
        if world.rank == 0 and not (folder / "data").exists():
            check_room(folder, *stored_bytes(case))
    dims, per_group = _process_grid(case, world.size)
    num_groups, group = world.size // per_group, world.rank // per_group
    split = world.comm.Split(group, world.rank)
    try:
        comm: MPI.Intracomm = split
        share = slice(group, None, num_groups)
        if group == num_groups:  # too few ranks are left for a group
            comm, dims, share = MPI.COMM_SELF, None, slice(0)
        with lenient():  # a group waits for the trajectories of others
            return _split_by_split(case, folder, name or folder.name, world, comm, dims, share, stop)
    except _StoppedError:
        return None
    finally:
        split.Free()


def _process_grid(case: Generation, size: int) -> tuple[tuple[int, ...] | None, int]:
    """Process grid of a trajectory, None to choose one, and its ranks."""
    if case.grid is None:
        return None, 1
    shape, wish = case.grid.shape, case.ranks.domain
    needed = -(-math.prod(shape) // CELLS_PER_RANK)
    if wish == "auto" and needed > 1:
        return None, min(size, 1 << (needed - 1).bit_length())
    dims = (1,) * len(shape) if wish == "auto" else wish
    per_group = math.prod(dims)
    check_dims(dims, shape, per_group)
    if size < per_group:
        raise TopologyError(f"ranks.domain = {list(dims)} needs {per_group} ranks for each trajectory but there are {size}")
    return dims, per_group


def origin_of(case: Generation) -> str:
    """What the values depend on, as text."""
    return to_toml(case.model_copy(update={"ranks": Ranks(domain=case.ranks.domain)}))


def _split_by_split(
    case: Generation,
    folder: Path,
    name: str,
    world: World,
    comm: MPI.Intracomm,
    dims: tuple[int, ...] | None,
    share: slice,
    stop: StopSignal | None,
) -> list[Path]:
    data, equation = case.data, build_equation(case.equation)
    splits = {"train": range(data.trajectories), "valid": range(data.trajectories, data.trajectories + data.held_out)}
    paths = []
    rows = rows_of_mesh(equation, world.comm) if equation.on_mesh and case.grid is None else None
    ranks = case.ranks.model_copy(update={"domain": dims or "auto", "data": 1})
    with equation_space(equation, case.grid, ranks, comm) as domain:
        equation.check(domain)
        for split, samples in splits.items():
            path = folder / "data" / split / f"{name}.hdf5"
            space = _describe(name, case, equation, domain, len(samples), rows, world.comm)
            with GrowingDataset(path, space, origin_of(case), world.comm, "mesh" if rows else "the-well", mesh=rows) as file:
                done = len(samples) - len(file.missing)
                _log.info("%s: %d trajectories, %d of them complete", path, len(samples), done)
                mine = file.missing[share]
                agree_on_error(_simulate(file, mine, samples, case, equation, domain, world.rank == 0, stop), world.comm)
                if stop is not None and stop.settle():
                    raise _StoppedError
            paths.append(path)
    return paths


def _simulate(
    file: GrowingDataset,
    mine: list[int],
    samples: range,
    case: Generation,
    equation: Equation,
    domain: Space,
    shown: bool,
    stop: StopSignal | None,
) -> HpcmlError | None:
    """Simulate and write this group's trajectories; an error is given back, for the others do not wait for this group."""

    def heed() -> None:
        if stop is not None and stop.heard(domain.comm):
            raise _StoppedError

    blocks = blocks_of(domain)
    with progress("trajectory", len(mine), shown=shown) as bar:
        for count, number in enumerate(mine, 1):
            sample = samples[number]
            try:
                states = trajectories(
                    equation, case.data, domain, range(sample, sample + 1), _times(case, equation), False, heed, case.solver
                )
                for time, state in enumerate(states):
                    with raise_together(domain.comm):
                        values = domain.channels_first(to_host(state)[0]).numpy()
                        for places, block in blocks:
                            file.write(number, time, values[:, :, places], block)
                file.finish(number, domain.comm)
                heed()  # a steady problem has no steps
            except _StoppedError:
                return None
            except HpcmlError as error:
                return type(error)(f"trajectory {sample}: {error}")
            bar.advance(count, f"of {type(equation).__name__}")
    return None


def _times(case: Generation, equation: Equation) -> int:
    return 1 if equation.steady else case.data.snapshots


def _describe(
    name: str, case: Generation, equation: Equation, domain: Space, count: int, rows: MeshRows | None, comm: MPI.Intracomm
) -> Description:
    """Index space of the trajectories."""
    data, num_dims = case.data, coordinates_of(equation, case.grid)
    fields = equation_fields(equation, num_dims)
    names = [entry.name for entry in fields]
    start = 0.0 if equation.steady else math.ceil(data.spin_up / data.interval) * data.interval
    values_of = {key: value if isinstance(value, tuple) else (value,) for key, value in vars(equation).items()}
    numbers = {key: tuple(map(float, v)) for key, v in values_of.items() if all(isinstance(number, int | float) for number in v)}
    constants: dict[str, tuple[float, ...]] = {}
    for key, values in numbers.items():
        key = f"{key}_constant" if key in names else key  # readers keep fields and constants under one name
        constants |= {key: values} if len(values) == 1 else {f"{key}_{d}": (value,) for d, value in enumerate(values)}
    times = tuple(start + time * data.interval for time in range(_times(case, equation)))
    if rows is not None:
        return rows.describe(name, fields, count, times, comm, constants)
    assert isinstance(domain, Domain)
    return Description(
        name,
        fields,
        count,
        times,
        tuple(tuple(domain.grid.centres(d).tolist()) for d in range(num_dims)),
        domain.grid.periodic,
        constants,
    )
