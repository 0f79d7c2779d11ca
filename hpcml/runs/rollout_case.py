"""Let a trained model step on from held-out initial states, beside the solver or the trajectories that it learned from."""

import json
import logging
import math
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from hpcml.core.case import Case
from hpcml.data.case_device import bind_case
from hpcml.io.files.agree import together
from hpcml.io.files.replace import write_file
from hpcml.mpi.world import World
from hpcml.parallel.space import Space
from hpcml.runs.dtype_of import dtype_of
from hpcml.runs.evaluation import trained
from hpcml.runs.experiment import load_surrogate
from hpcml.runs.json_number import json_number
from hpcml.runs.outcome import Outcome, PostProcessing
from hpcml.runs.room import check_room
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.run_log import run_log
from hpcml.runs.trajectory_writer import TrajectoryWriter
from hpcml.runs.truth import Truth, held_out_truth
from hpcml.solvers import NeuralSolver
from hpcml.training.relative_error import mean_of_defined, relative_errors

_log = logging.getLogger(__name__)


def rollout_case(folder: Path, world: World, steps: int | None = None, most: int | None = None) -> dict[str, list[float]]:
    """Roll the model of a run out against its solver, or against the first of its stored test sets.

    Parameters
    ----------
    folder : Path
        Run directory of a trained case that steps in time. Gets ``snapshots/rollout.h5``, step by step, with ``truth_CHANNEL`` and
        ``prediction_CHANNEL`` for each channel, (time, sample, *grid) or (time, sample, node), and ``rollout.json`` with the errors.
    world : World
        All ranks; their number may differ from that of the training.
    steps : int, optional
        Steps of the model, default ``output.rollout_steps`` of the case.
    most : int, optional
        Trajectories, the first ones; by default all that are held out.

    Returns
    -------
    dict of str to list of float
        ``model`` and ``persistence``: relative L2 error after each step, mean over held-out trajectories, of the model and of the forecast
        that nothing changes; NaN, in the file null, where all of the truth is zero.

    Raises
    ------
    ConfigError, CheckpointError, SolverError
        On every rank; the steps that were written before stay readable.

    Communication
    -------------
    Collective over world.comm; every rank writes its own block, and holds one step at a time.
    """
    directory = RunDirectory(folder)
    case = directory.case()
    steps = case.output.rollout_steps if steps is None else steps
    with run_log(directory, world, bind_case(case.ranks, world)):
        state, meaning = trained(directory, world.comm)
        truth = held_out_truth(case, world.comm, steps, most, meaning)
        model = load_surrogate(case, truth.space, state)
        with PostProcessing(case.output.rollout) as process:
            errors = _roll_out(directory, case, truth, NeuralSolver(model, truth.space), process)
        with together(world.comm, f"writing {directory.path / 'rollout.json'}"):
            if world.rank == 0:
                write_file(directory.path / "rollout.json", (json.dumps(_shown(errors), indent=2) + "\n").encode())
        for step in sorted({1, steps // 2, steps} - {0}):
            ours, idle = errors["model"][step - 1], errors["persistence"][step - 1]
            ratio = idle / ours if ours else math.inf
            _log.info("step %d: relative L2 error %.4f, persistence %.4f, %.1f times better", step, ours, idle, ratio)
        truth.space.close()
    return errors


@torch.no_grad()
def _roll_out(directory: RunDirectory, case: Case, truth: Truth, solver: NeuralSolver, process: PostProcessing) -> dict[str, list[float]]:
    """Step on beside the truth; write both as they come and keep neither."""
    first = next(truth.states)
    pairs = zip(truth.times, chain([first], truth.states), solver.snapshots(first, len(truth.times) - 1), strict=True)
    space, dim = truth.space, truth.space.channel_dim
    variables = {f"{kind}_{channel}": channel for kind in ("truth", "prediction") for channel in truth.channels}
    errors: dict[str, list[float]] = {"model": [], "persistence": []}
    with together(space.comm, f"looking for room in {directory.snapshots}"):
        if space.comm.rank == 0 and case.snapshots.compression == "none":
            _check_room(directory.snapshots, case, truth, len(first))
    with TrajectoryWriter(directory.snapshots / "rollout.h5", case, truth.geometry, space, variables, len(first)) as writer:
        first = first.narrow(dim, 0, len(truth.channels))
        for step, (time, *states) in enumerate(pairs):
            true, predicted = (state.narrow(dim, 0, len(truth.channels)) for state in states)
            if step % case.snapshots.every == 0:
                writer.write(time, dict(zip(variables, [*true.unbind(dim), *predicted.unbind(dim)], strict=True)))
            process(Outcome(space, directory.path, "rollout", step, time, truth.channels, true, predicted))
            if step:
                errors["model"].append(_error(space, predicted, true))
                errors["persistence"].append(_error(space, first, true))
    return errors


def _check_room(folder: Path, case: Case, truth: Truth, count: int) -> None:
    values = 2 * len(truth.channels) * count * math.prod(truth.space.global_shape)
    needed = dtype_of(case).itemsize * values * math.ceil(len(truth.times) / case.snapshots.every)
    check_room(folder, needed, "the states of this roll-out", "take fewer --steps or --trajectories, or a larger snapshots.every")


def _error(space: Space, prediction: Tensor, truth: Tensor) -> float:
    """Relative L2 error over channels and points, mean over samples."""
    return mean_of_defined(relative_errors(space, prediction, truth))[0]


def _shown(errors: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {name: [json_number(error) for error in row] for name, row in errors.items()}
