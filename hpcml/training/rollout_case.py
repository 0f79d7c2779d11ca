"""Let a trained model step on from held-out initial states, beside the solver that it learned from."""

import json
import logging
from pathlib import Path

import h5py
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
from hpcml.training.simulation import simulate
from hpcml.training.tensor_files import domain_of

_log = logging.getLogger(__name__)


def rollout_case(folder: Path, world: World, steps: int | None = None) -> dict[str, list[float]]:
    """Roll the model of a run out against its solver.

    Parameters
    ----------
    folder : Path
        Run directory of a trained case that steps in time. Gets ``snapshots/rollout.h5`` with ``truth`` and ``prediction``,
        (sample, step, channel, *grid), and ``rollout.json`` with the errors.
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
        On every rank.

    Communication
    -------------
    Collective over world.comm; rank 0 gathers one trajectory at a time and writes.
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
        truth = simulate(equation, data, domain, samples, steps + 1).to(dtype_of(case))
        with torch.no_grad():
            prediction = NeuralSolver(model, domain).rollout(truth[:, 0], steps)
        errors = {"model": _errors(domain, prediction, truth), "persistence": _errors(domain, truth[:, :1].expand_as(truth), truth)}
        _write(directory, case, equation, domain, truth, prediction, errors)
        for step in sorted({1, steps // 2, steps} - {0}):
            pair = errors["model"][step - 1], errors["persistence"][step - 1]
            _log.info("step %d: relative L2 error %.4f, persistence %.4f, %.1f times better", step, *pair, pair[1] / pair[0])
        domain.close()
    return errors


def _errors(domain: Domain, prediction: Tensor, truth: Tensor) -> list[float]:
    """Relative L2 error over the grid after every step but the first state, mean over samples."""
    cells = tuple(range(2, truth.dim()))
    parts = torch.stack([(prediction - truth).double().square().sum(cells), truth.double().square().sum(cells)])
    difference, size = all_sum(parts, domain.comm)
    return (difference / size).sqrt().mean(0)[1:].tolist()


def _write(
    directory: RunDirectory,
    case: Case,
    equation: Equation,
    domain: Domain,
    truth: Tensor,
    prediction: Tensor,
    errors: dict[str, list[float]],
) -> None:
    """Write fields, gathered one trajectory at a time, and errors; the file appears under its name when it is complete."""
    path = directory.snapshots / "rollout.h5"
    partial = path.with_suffix(".partial")
    file = h5py.File(partial, "w") if domain.comm.rank == 0 else None
    shape = (*truth.shape[:3], *domain.global_shape)
    for name, field in (("truth", truth), ("prediction", prediction)):
        dataset = None if file is None else file.create_dataset(name, shape, dtype=str(field.dtype).removeprefix("torch."))
        for sample, trajectory in enumerate(field):
            whole = domain.gather(trajectory, root=0)
            if dataset is not None:
                dataset[sample] = whole.numpy()
    if file is None:
        return
    assert isinstance(case.data, Simulation)
    file["time"] = [case.data.spin_up + step * case.data.interval for step in range(shape[1])]
    file.attrs["channels"] = list(equation.channels(domain.num_dims))
    file.attrs["extent"] = domain.grid.extent
    file.close()
    partial.replace(path)
    (directory.path / "rollout.json").write_text(json.dumps(errors, indent=2) + "\n", encoding="utf-8")
