"""A picture of how a run of `hpcml online` went: what it learned, where it is wrong, who waited, and what it has cost."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.core.case import Case
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.json_text import parse_json
from hpcml.core.online_data import Online
from hpcml.core.optional_module import optional_module
from hpcml.core.regular import read_regular
from hpcml.core.save_figure import save_figure
from hpcml.io.files.remedy import remedy

PERCENTILES = (50, 95, 99)
_MOST_BYTES, _MOST_METRICS = 1 << 24, 1 << 28


def draw_report(run: Path) -> Path:
    """Draw ``report.png`` in a run directory, from its case, ``metrics.csv`` and ``evaluation.json``.

    Parameters
    ----------
    run : Path
        Of `hpcml online`.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    ConfigError
        For a run of another kind, and where matplotlib is not installed.
    CheckpointError
        Where a run has not been measured yet.

    Communication
    -------------
    Local.
    """
    drawing = optional_module("matplotlib.figure", "pictures need the package matplotlib", "'hpcml[viz]'")
    from hpcml.runs.run_directory import RunDirectory

    case = RunDirectory(run).case()
    if not isinstance(case.data, Online):
        raise ConfigError(f"{run} did not learn from simulations that ran beside it: a report is made of runs of hpcml online")
    rows, measured = _rows(run / "metrics.csv"), _measured(run / "evaluation.json")
    figure = drawing.Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(2, 3).flat
    _losses(next(axes), rows)
    _percentiles_in_time(next(axes), measured, case.data)
    _errors_by_parameter(next(axes), measured, case.data)
    _throughput(next(axes), rows)
    _buffer(next(axes), rows, case.data.capacity)
    _shares(next(axes), rows)
    spread = ", ".join(f"{key} {value:.3g}" for key, value in measured["percentiles"]["held out"].items())
    figure.suptitle(f"{run.name}: relative error {measured['relative_l2']['held out']:.3g} ({spread})\n{cost(case, rows, measured)}")
    path = run / "report.png"
    return save_figure(figure, path, dpi=110)


def cost(case: Case, rows: dict[str, np.ndarray], measured: dict[str, Any]) -> str:
    """What was spent, and after how many uses that has paid, in words.

    Communication
    -------------
    Local.
    """
    from hpcml.runs.break_even import break_even

    spec, ranks = case.data, case.ranks
    assert isinstance(spec, Online)
    solver = ranks.per_simulation * _grown(rows["solver_seconds"])
    trainer = ranks.trainers * float(rows["seconds"].sum())
    each = solver / max(rows["samples_in"][-1] / spec.samples_per_simulation, 1e-9)
    predicted = ranks.trainers * measured["seconds"]["held out"] / spec.held_out
    uses = break_even(solver + trainer, each, predicted)
    paid = f"paid for after {uses:,.0f} simulations at the earliest" if np.isfinite(uses) else "no cheaper than the solver"
    spent = f"{solver:.3g} of solvers, {trainer:.3g} of trainers"
    return f"rank-seconds: {spent}; a simulation takes {each:.3g}, its prediction {predicted:.3g}: {paid}"


def _rows(path: Path) -> dict[str, np.ndarray]:
    """Columns of the numbers of a run."""
    found = list(csv.DictReader(io.StringIO(_read(path, _MOST_METRICS).decode(), newline="")))
    if not found:
        raise CheckpointError(f"{path} has no row: a report is made once a run has validated")
    return {name: np.array([float(row[name] or "nan") for row in found]) for name in found[0]}


def _measured(path: Path) -> dict[str, Any]:
    text = _read(path, _MOST_BYTES)
    if not text:
        raise CheckpointError(f"there is no {path}: a report is made once a run has ended, or `hpcml evaluate` has measured it")
    try:
        found: dict[str, Any] = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is not as hpcml writes it: {error}; `hpcml evaluate` writes it anew") from error
    return found


def _read(path: Path, most: int) -> bytes:
    """A file of a run; nothing where it is not there."""
    try:
        return read_regular(path, most)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}{remedy(error.errno)}") from None


def _grown(values: np.ndarray) -> float:
    """Sum of what a counter has grown by, which begins at zero again with each start of a job."""
    return float(np.where(np.diff(values, prepend=0) < 0, values, np.diff(values, prepend=0)).sum())


def _errors(measured: dict[str, Any], spec: Online) -> np.ndarray:
    """(simulation, step)."""
    return np.array([np.nan if e is None else e for e in measured["errors"]["held out"]]).reshape(spec.held_out, -1)


def _losses(axis: Any, rows: dict[str, np.ndarray]) -> None:
    axis.semilogy(rows["step"], rows["train_loss"], label="of updates")
    axis.semilogy(rows["step"], rows["valid_loss"], label="on what is held out")
    axis.set(title="loss", xlabel="update")
    axis.legend()


def _percentiles_in_time(axis: Any, measured: dict[str, Any], spec: Online) -> None:
    errors = _errors(measured, spec)
    times = spec.interval * np.arange(errors.shape[1])
    for percentile in PERCENTILES:
        axis.semilogy(times, np.nanpercentile(errors, percentile, axis=0), label=f"p{percentile}")
    axis.set(title="relative error over parameters, by time", xlabel="time")
    axis.legend()


def _errors_by_parameter(axis: Any, measured: dict[str, Any], spec: Online) -> None:
    from hpcml.online.parameters import design

    errors = np.nanmean(_errors(measured, spec), 1)
    numbers = range(spec.simulations, spec.simulations + spec.held_out)
    for name, values in zip(spec.parameters, design("uniform", len(spec.parameters), numbers, spec.seed).T, strict=True):
        axis.semilogy(values, errors, ".", label=name)
    axis.set(title="relative error of each simulation held out", xlabel="parameter, from least to largest", xlim=(0, 1))
    if spec.parameters:
        axis.legend()


def _throughput(axis: Any, rows: dict[str, np.ndarray]) -> None:
    updates, seconds = np.diff(rows["step"], prepend=0), np.maximum(rows["seconds"], 1e-9)
    axis.plot(rows["step"], updates / seconds, label="updates")
    axis.plot(rows["step"], np.diff(rows["samples_in"], prepend=0) / seconds, label="samples that came")
    axis.set(title="per second", xlabel="update", ylim=(0, None))
    axis.legend()


def _buffer(axis: Any, rows: dict[str, np.ndarray], capacity: int) -> None:
    axis.plot(rows["step"], rows["buffered"] / capacity, label="filling")
    axis.plot(rows["step"], rows["fresh_share"], label="draws of new samples")
    axis.set(title="buffer", xlabel="update", ylim=(0, 1.05))
    axis.legend()


def _shares(axis: Any, rows: dict[str, np.ndarray]) -> None:
    for name, label in (("trainer_idle", "trainers wait"), ("solver_stall", "simulations wait"), ("steering", "sampler")):
        axis.plot(rows["step"], rows[name], label=label)
    axis.set(title="shares of the time", xlabel="update", ylim=(0, None))
    axis.legend()
