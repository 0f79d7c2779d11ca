"""How wrong a trained model is on data that it has not seen."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core.case import Case, Ranks, Simulation
from hpcml.core.errors import CheckpointError, ConfigError, TrainingError
from hpcml.core.json_text import parse_json
from hpcml.core.online_data import Online
from hpcml.core.regular import read_regular
from hpcml.data.samples import Samples
from hpcml.equations import build_equation
from hpcml.fields.domain import Domain
from hpcml.io.checkpoint import restore
from hpcml.io.dataset import Meaning
from hpcml.io.files.agree import together
from hpcml.io.files.replace import write_file
from hpcml.mpi.world import World
from hpcml.parallel.space import Space
from hpcml.runs.equation_fields import simulated_meaning
from hpcml.runs.equation_space import equation_space
from hpcml.runs.experiment import load_surrogate, open_experiment
from hpcml.runs.held_out import open_held_out
from hpcml.runs.json_number import json_number
from hpcml.runs.outcome import Outcome, PostProcessing
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.simulated_data import simulated_data
from hpcml.training.relative_error import mean_of_defined, relative_errors

_log = logging.getLogger(__name__)
_MOST_BYTES = 1 << 24
PERCENTILES = (50, 95, 99)
"""Of the samples of a set, told beside the mean: how wrong a model is at its worst."""


def evaluate(
    case: Case, held_out: Mapping[str, Samples], state: Mapping[str, Any], folder: Path, comm: MPI.Intracomm, keep: bool = False
) -> dict[str, float]:
    """Mean relative L2 error of a trained model on held-out sets, each at its own resolution.

    Parameters
    ----------
    case : Case
        Of the model.
    held_out : mapping of str to Samples
        The sets, by name.
    state : mapping
        State dict of the model.
    folder : Path
        Gets ``evaluation.json``: means, and percentiles of the samples' errors; of simulations that were held out also the errors, and the
        seconds that predicting all of a set took.
    comm : MPI.Intracomm
        All ranks.
    keep : bool
        Whether errors on other sets that ``evaluation.json`` has already stay there.

    Returns
    -------
    dict of str to float
        Error of each set, by name; samples whose target is zero everywhere have none and are left out. NaN, in the file null, if all are.

    Raises
    ------
    TrainingError
        On every rank, once the file is written, if predictions are not finite.

    Communication
    -------------
    Collective over all ranks; rank 0 writes.
    """
    errors: dict[str, float] = {}
    spread: dict[str, dict[str, float]] = {}
    found, seconds = _errors(case, held_out, state, folder)
    for name, pairs in held_out.items():
        errors[name], undefined = mean_of_defined(found[name])
        if undefined:
            _log.warning(
                "%s: %d of %d targets are zero everywhere, where there is no relative error: left out", name, undefined, len(found[name])
            )
        defined = found[name][~found[name].isnan()]
        finite = len(defined) and bool(defined.isfinite().all())
        spread[name] = {f"p{p}": float(defined.quantile(p / 100)) for p in PERCENTILES} if finite else {}
        shown = ", ".join(f"{key} {value:.4f}" for key, value in spread[name].items())
        _log.info("relative L2 error on %s, %s %s: %.4f (%s)", name, *_points(pairs.space), errors[name], shown)
    path = folder / "evaluation.json"
    with together(comm, f"writing {path}"):
        if comm.rank == 0:
            means = {name: json_number(error) for name, error in errors.items()}
            told: dict[str, dict[str, Any]] = {"relative_l2": dict(means), "percentiles": dict(spread)}
            if isinstance(case.data, Online):
                each = {name: [json_number(error) for error in found[name].tolist()] for name in found}
                told |= {"errors": each, "seconds": dict(seconds)}
            kept = {key: (_written(path, key) if keep else {}) | value for key, value in told.items()}
            write_file(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())
    if broken := [f"{int(found[name].isinf().sum())} of {len(found[name])} on {name}" for name in found if found[name].isinf().any()]:
        raise TrainingError(
            f"predictions are not finite: {', '.join(broken)}; the model has diverged in training, or these data are far from what it has "
            "learned from. Lower training.learning_rate, or look at metrics.csv"
        )
    return errors


def evaluate_run(directory: RunDirectory, world: World, paths: Sequence[str] = ()) -> dict[str, float]:
    """Measure the model of a run on the held-out data of its case, or on other files.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    world : World
        All ranks, in any number.
    paths : sequence of str
        Files or folders that mean what the model was trained on, at any resolution; by default those of the case.

    Returns
    -------
    dict of str to float
        As `evaluate`.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank: no such run or file, or data that mean something else than what the model has learned from.

    Communication
    -------------
    Collective over world.comm.
    """
    comm = world.comm
    case = directory.case()
    case = case.model_copy(update={"ranks": Ranks(device=case.ranks.device, per_simulation=case.ranks.per_simulation)})
    state, meaning = trained(directory, comm)
    if isinstance(case.data, Online):
        if paths:
            raise ConfigError("a model of simulations that ran while it was trained is measured on further ones: leave --data out")
        held_out = open_experiment(case, comm).held_out
    elif isinstance(case.data, Simulation) and not paths:
        if meaning is not None:
            meaning.check(_simulated(case, comm))
        experiment = open_experiment(case, comm, simulated_data(case, directory.path, world))
        experiment.train.close()
        held_out = experiment.held_out
    else:
        chosen = paths or ([] if isinstance(case.data, Simulation) else case.data.test)
        if not chosen:
            raise ConfigError("the case names no data that were held out: name files with --data")
        held_out = open_held_out(case, chosen, meaning, case.ranks, comm)
    try:
        return evaluate(case, held_out, state, directory.path, comm, keep=bool(paths))
    finally:
        for pairs in held_out.values():
            pairs.close()


def trained(directory: RunDirectory, comm: MPI.Intracomm) -> tuple[Mapping[str, Any], Meaning | None]:
    """State dict of the model in the newest whole checkpoint of a run, and what the data mean that it has learned from, if it says that.

    Parameters of which a running mean was kept are that mean.

    Raises
    ------
    CheckpointError
        On every rank, if there is none.

    Communication
    -------------
    Collective over comm.
    """
    directory.take_ways(comm)
    restored = restore(directory.checkpoints, comm)
    if restored is None:
        raise CheckpointError(f"{directory.path} holds no checkpoint: run `hpcml train {directory.config} --run {directory.path}` first")
    saved, mean = restored.state.get("meaning"), restored.state.get("average")
    return {**restored.state["model"], **({} if mean is None else mean["values"])}, None if saved is None else Meaning.from_state(saved)


def _errors(
    case: Case, held_out: Mapping[str, Samples], state: Mapping[str, Any], folder: Path
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Of each sample of each set, and seconds to predict a set; predictions go to the post-processing of the case on their way."""
    errors: dict[str, torch.Tensor] = {}
    seconds: dict[str, float] = {}
    with torch.no_grad(), PostProcessing(case.output.evaluation) as process:
        for name, pairs in held_out.items():
            model, channels = load_surrogate(case, pairs.space, state), _channels(pairs)
            found, seconds[name] = [torch.zeros(0, dtype=torch.float64)], 0.0
            for samples in torch.arange(pairs.num_samples).split(case.training.batch_size):
                x, y = pairs.take(samples)
                start = time.monotonic()
                prediction = model(x)
                seconds[name] += time.monotonic() - start
                found.append(relative_errors(pairs.space, prediction, y).cpu())
                process(Outcome(pairs.space, folder, name, int(samples[0]), None, channels, y, prediction))
            errors[name] = torch.cat(found)
    return errors, seconds


def _simulated(case: Case, comm: MPI.Intracomm) -> Meaning:
    """What the data mean that a case simulates."""
    assert isinstance(case.data, Simulation) and case.equation is not None
    equation = build_equation(case.equation)
    with equation_space(equation, case.grid, case.ranks, comm) as space:
        return simulated_meaning(equation, space, case.data)


def _channels(pairs: Samples) -> tuple[str, ...]:
    """Names of the channels of a target, where they are known."""
    if pairs.meaning is None:
        return ()
    return tuple(channel for field in pairs.meaning.targets for channel in field.channels(len(pairs.meaning.axes)))


def _points(space: Space) -> tuple[str, str]:
    """How many there are, and what they are called."""
    return " x ".join(map(str, space.global_shape)), "cells" if isinstance(space, Domain) else "nodes"


def _written(path: Path, key: str) -> dict[str, Any]:
    """Errors that are in the file already; none if it is not there, or not whole."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(parse_json(read_regular(path, _MOST_BYTES))[key])
    return {}
