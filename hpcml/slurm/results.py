"""What the runs of an array gave: one row for each, from what lies in their folders."""

import csv
import io
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpcml.core.errors import ConfigError
from hpcml.core.json_text import parse_json
from hpcml.core.optional_module import optional_module
from hpcml.core.regular import read_regular
from hpcml.core.save_figure import save_figure
from hpcml.slurm.progress import progress_of

Row = dict[str, Any]
ERROR = "error of "
"""Begins the names of the columns with errors on held-out data."""
_NO_PARAMETER = ("output.",)
_MOST_BYTES, _MOST_METRICS = 1 << 24, 1 << 28


def read_results(folder: Path) -> list[Row]:
    """Rows of the runs in a folder, by name.

    Parameters
    ----------
    folder : Path
        Whose folders are run directories, as those of an array.

    Returns
    -------
    list of dict
        ``run``, ``state``, ``step``, ``ranks``, ``seconds`` of training and ``rank_hours``, the relative error on each held-out set,
        and each value of the case in which the runs differ.

    Raises
    ------
    ConfigError
        Where there is no run.

    Communication
    -------------
    Local.
    """
    runs = sorted(path.parent for path in folder.glob("*/config.toml"))
    if not runs:
        raise ConfigError(f"{folder} holds no run directories: give the folder of an array, by default runs/CASE")
    cases = [_flat(_load(run / "config.toml", tomllib.loads)) for run in runs]
    keys = [key for key in dict.fromkeys(key for case in cases for key in case) if not key.startswith(_NO_PARAMETER)]
    varied = [key for key in keys if any(case.get(key) != cases[0].get(key) for case in cases)]
    rows = [_row(run) | {key: case.get(key) for key in varied} for run, case in zip(runs, cases, strict=True)]
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in columns} for row in rows]


def _row(run: Path) -> Row:
    status = _load(run / "status.json", parse_json)
    errors = _load(run / "evaluation.json", parse_json).get("relative_l2")
    seconds = _seconds(run / "metrics.csv")
    ranks = found if isinstance(found := status.get("ranks"), int) else None
    row: Row = {"run": run.name, "state": status.get("state", "nothing ran"), "step": status.get("step") or progress_of(run).step}
    row |= {"ranks": ranks, "seconds": round(seconds, 3), "rank_hours": round(seconds * ranks / 3600, 6) if ranks else None}
    return row | {f"{ERROR}{name}": error for name, error in (errors if isinstance(errors, dict) else {}).items()}


def _load(path: Path, parse: Any) -> dict[str, Any]:
    """What a file holds; nothing where it is not there, or is damaged."""
    try:
        found = parse(read_regular(path, _MOST_BYTES).decode())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(path: Path) -> float:
    try:
        text = io.StringIO(read_regular(path, _MOST_METRICS).decode(errors="replace"), newline="")
        return sum(float(row["seconds"]) for row in csv.DictReader(text) if row.get("seconds"))
    except (OSError, ValueError, csv.Error):
        return 0.0


def _flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, the names of the columns first.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> print(as_csv([{"run": "a", "error of x": 0.5}]), end="")
    run,error of x
    a,0.5
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot_results(rows: Sequence[Row], path: Path) -> None:
    """Draw the errors of the runs, over what varies if that is one number, side by side otherwise.

    Raises
    ------
    ConfigError
        Where there is no error to draw, matplotlib is not installed, or cannot write such a file.

    Communication
    -------------
    Local.
    """
    drawing = optional_module("matplotlib.figure", "pictures need the package matplotlib", "'hpcml[viz]'")
    names = [key for key in rows[0] if key.startswith(ERROR)]
    rows = [row for row in rows if any(row[name] is not None for name in names)]
    if not rows:
        raise ConfigError("no run has come to its errors yet: hpcml job status says how far they are")
    fixed = {"run", "state", "step", "ranks", "seconds", "rank_hours", *names}
    varied = [key for key in rows[0] if key not in fixed]
    axis = varied[0] if len(varied) == 1 and all(isinstance(row[varied[0]], int | float) for row in rows) else "run"
    rows = sorted(rows, key=lambda row: row[axis])
    figure = drawing.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in names:
        axes.plot([row[axis] for row in rows], [row[name] for row in rows], marker="o", label=name.removeprefix(ERROR))
    axes.set(xlabel=axis, ylabel="relative L2 error", yscale="log")
    axes.legend(frameon=False)
    save_figure(figure, path)
