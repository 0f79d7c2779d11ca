"""How far a run has come, from what lies in its folder."""

import csv
import os
import re
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hpcml.core.regular import open_regular, read_regular

_ROWS = 5
"""Rows of metrics.csv whose time counts."""
_TAIL = 1 << 16
_MOST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes
    ----------
    step : int or None
        Last update that metrics.csv tells of.
    last : int or None
        Updates in all.
    saved : int or None
        Step of the newest checkpoint on disk.
    saved_at : float or None
        When it was written, in seconds since 1970.
    seconds_to_go : float or None
        At the pace of the last rows of metrics.csv.
    """

    step: int | None = None
    last: int | None = None
    saved: int | None = None
    saved_at: float | None = None
    seconds_to_go: float | None = None


def progress_of(run: Path) -> Progress:
    """Look into a run directory; what cannot be read is not known.

    Communication
    -------------
    Local.
    """
    steps, epochs, seconds = _rows(run / "metrics.csv")
    saved = [
        (int(found[1]), path) for path in (run / "checkpoints").glob("step-*-*/commit.json") if (found := _STEP.match(path.parent.name))
    ]
    newest = max(saved, default=None)
    step = steps[-1] if steps else None
    last = _last(run / "config.toml", steps, epochs)
    to_go = None
    if len(steps) > 1 and last is not None and (done := steps[-1] - steps[0]) > 0:
        to_go = (last - steps[-1]) * sum(seconds[1:]) / done
    return Progress(step, last, newest[0] if newest else None, newest[1].stat().st_mtime if newest else None, to_go)


_STEP = re.compile(r"step-(\d+)-")


def _rows(path: Path) -> tuple[list[int], list[float], list[float]]:
    """Step, epoch and seconds of the last rows."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            header = file.readline(_TAIL).decode()
            file.seek(max(len(header.encode()), os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()[-_ROWS - 1 :]
        rows = [row for row in csv.DictReader([header, *lines]) if row.get("seconds")]
        return [int(row["step"]) for row in rows], [float(row["epoch"]) for row in rows], [float(row["seconds"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return [], [], []


def _last(path: Path, steps: list[int], epochs: list[float]) -> int | None:
    """Updates in all: those that the case says, or its epochs times the updates of one."""
    try:
        training = tomllib.loads(read_regular(path, _MOST_BYTES).decode())["training"]
        if training.get("updates") is not None:
            return int(training["updates"])
        return round(training["epochs"] * steps[-1] / epochs[-1])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError):
        return None


def describe_progress(progress: Progress) -> str:
    """One line for people; empty where nothing is known.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> describe_progress(Progress(step=120, last=160, saved=100, seconds_to_go=4000.0))
    'step 120 of 160, checkpoint of step 100, about 1 h 7 min to go'
    """
    parts = []
    if progress.step is not None:
        parts.append(f"step {progress.step}" + (f" of {progress.last}" if progress.last else ""))
    if progress.saved is not None:
        age = "" if progress.saved_at is None else f" from {_duration(time.time() - progress.saved_at)} ago"
        parts.append(f"checkpoint of step {progress.saved}{age}")
    if progress.seconds_to_go:
        parts.append(f"about {_duration(progress.seconds_to_go)} to go")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 120 else f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
