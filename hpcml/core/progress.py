"""How far a long job is: a bar on a terminal, a line per interval in a batch log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
INTERVAL_S = 5.0
"""Least time between two lines of a log: a day's job stays below some thousand lines."""


class Progress:
    """Told after every step; shows it in its own time. Silent unless made by `progress` with ``shown``."""

    def advance(self, done: int, text: str) -> None:
        """Say that ``done`` steps are over, and how things stand."""


class _Bar(Progress):
    def __init__(self, bar, task) -> None:  # type: ignore[no-untyped-def]
        self._bar, self._task = bar, task

    def advance(self, done: int, text: str) -> None:
        self._bar.update(self._task, completed=done, text=text)


class _Lines(Progress):
    def __init__(self, title: str, total: int, first: int) -> None:
        self._title, self._total, self._first = title, total, first
        self._start = time.monotonic()
        self._last = -INTERVAL_S

    def advance(self, done: int, text: str) -> None:
        elapsed = time.monotonic() - self._start
        if elapsed - self._last < INTERVAL_S and done < self._total:
            return
        self._last = elapsed
        left = elapsed / max(done - self._first, 1) * (self._total - done)
        _log.info("%s %d/%d  %s  %.0f s, %.0f s to go", self._title, done, self._total, text, elapsed, left)


@contextmanager
def progress(title: str, total: int, shown: bool, first: int = 0) -> Iterator[Progress]:
    """Show the progress of ``total`` steps while the block runs.

    Parameters
    ----------
    title : str
        What is counted.
    total, first : int
        Steps in all, and those that were done before.
    shown : bool
        Whether this rank shows anything: rank 0 only.

    Communication
    -------------
    Local.
    """
    if not shown:
        yield Progress()
    elif not sys.stderr.isatty():
        yield _Lines(title, total, first)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
        with RichProgress(*columns, console=Console(stderr=True)) as bar:
            yield _Bar(bar, bar.add_task(title, total=total, completed=first, text=""))
