"""Let a trained model step on from held-out initial states, beside the solver that it learned from."""

import json
import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from hpcml.core.case import Case, Simulation
from hpcml.core.errors import ConfigError
from hpcml.core.log import rank_log
from hpcml.equations import Equation, build_equation
from hpcml.fields.domain import Domain
from hpcml.mpi.reductions import all_sum
from hpcml.mpi.world import World
from hpcml.solvers import NeuralSolver
from hpcml.training.evaluation import trained_state
from hpcml.training.experiment import dtype_of, load_surrogate
from hpcml.training.run_directory import RunDirectory
from hpcml.training.simulation import trajectories
from hpcml.training.tensor_files import domain_of
from hpcml.training.trajectory_writer import TrajectoryWriter

_log = logging.getLogger(__name__)


def rollout_case(folder: Path, world: World, steps: int | None = None) -> dict[str, list[float]]:
    """Roll the model of a run out against its solver.

    Parameters
    ----------
    folder : Path
        Run directory of a trained case that steps in time. Gets ``snapshots/rollout.h5``, step by step, with ``truth_CHANNEL`` and
        ``prediction_CHANNEL`` for each channel, (time, sample, *grid), and ``rollout.json`` with the errors.
    world : World
        All ranks; their number may differ from that of the training.
    steps : int, optional
        Steps of the model, default ``output.rollout_steps`` of the case.

    Returns
    -------
    dict of str to list of float
        ``model`` and ``persistence``: relative L2 error after each step, mean over held-out trajectories, of the model and of the forecast
        that nothing changes.

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
    data, grid = case.data, case.grid
    if not isinstance(data, Simulation) or grid is None or case.equation is None or case.equation.name == "darcy":
        raise ConfigError(f"{folder} is no run of an equation that steps in time: there is nothing to roll out; see `hpcml evaluate`")
    steps = steps or case.output.rollout_steps
    with rank_log(world.rank, world.size, str(world.device), directory.log):
        domain = domain_of(grid.shape, grid, case.ranks.model_copy(update={"domain": "auto", "data": 1}), world.comm)
        model = load_surrogate(case, domain, trained_state(directory, world.comm))
        equation = build_equation(case.equation)
        samples = range(data.trajectories, data.trajectories + data.held_out)
        states = trajectories(equation, data, domain, samples, steps + 1)
        errors = _roll_out(directory.snapshots / "rollout.h5", case, equation, NeuralSolver(model, domain), states, steps)
        if world.rank == 0:
            (directory.path / "rollout.json").write_text(json.dumps(errors, indent=2) + "\n", encoding="utf-8")
        for step in sorted({1, steps // 2, steps} - {0}):
            pair = errors["model"][step - 1], errors["persistence"][step - 1]
            _log.info("step %d: relative L2 error %.4f, persistence %.4f, %.1f times better", step, *pair, pair[1] / pair[0])
        domain.close()
    return errors


@torch.no_grad()
def _roll_out(
    path: Path, case: Case, equation: Equation, solver: NeuralSolver, truth: Iterator[Tensor], steps: int
) -> dict[str, list[float]]:
    """Step on beside the truth; write both as they come and keep neither."""
    domain, channels = solver.domain, equation.channels(solver.domain.num_dims)
    first = next(truth).to(dtype_of(case))
    pairs = zip(chain([first], (state.to(first.dtype) for state in truth)), solver.snapshots(first, steps), strict=True)
    variables = {f"{kind}_{channel}": channel for kind in ("truth", "prediction") for channel in channels}
    errors: dict[str, list[float]] = {"model": [], "persistence": []}
    with TrajectoryWriter(path, case, domain, variables, len(first)) as writer:
        for step, (true, predicted) in enumerate(pairs):
            if step % case.snapshots.every == 0:
                writer.write(step, dict(zip(variables, [*true.unbind(1), *predicted.unbind(1)], strict=True)))
            if step:
                errors["model"].append(_error(domain, predicted, true))
                errors["persistence"].append(_error(domain, first, true))
    return errors


def _error(domain: Domain, prediction: Tensor, truth: Tensor) -> float:
    """Relative L2 error over the grid, mean over samples."""
    cells = tuple(range(1, truth.dim()))
    parts = torch.stack([(prediction - truth).double().square().sum(cells), truth.double().square().sum(cells)])
    difference, size = all_sum(parts, domain.comm)
    return float((difference / size).sqrt().mean())
