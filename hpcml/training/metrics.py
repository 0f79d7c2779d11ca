"""Numbers of a run, one row per epoch or some updates: to ``metrics.csv`` always, to TensorBoard when it is installed."""

import csv
import importlib.util
import io
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcml.core.append import append
from hpcml.core.json_text import parse_json
from hpcml.core.regular import open_regular, read_regular
from hpcml.io.files.remedy import remedy
from hpcml.io.files.replace import write_file

_log = logging.getLogger(__name__)
_MOST_BYTES = 1 << 28


class MetricsWriter:
    """Appends rows of named numbers; one rank has one.

    Parameters
    ----------
    folder : Path
        Gets ``metrics.csv``, and ``tensorboard/`` if the package is there.
    resume_after : int, optional
        Last update that is not computed again. Rows of later ones stay until the new ones take their place. None for a run that begins
        anew: rows of another one go when the first row comes.
    unwritten : str
        What `write` gave last, before the run was started again.

    Raises
    ------
    OSError
        Where ``metrics.csv`` cannot be read.

    Communication
    -------------
    Local.

    Notes
    -----
    A row that no longer follows those that are there (updates computed again, other columns) replaces the file at once. Where a row cannot
    be written, because the disk is full for instance, this is said once, the row is kept, and it is written with the next one that can.
    """

    def __init__(self, folder: Path, resume_after: int | None = None, unwritten: str = "") -> None:
        self._path = folder / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}
        self._whole = False
        """Whether the file holds all rows and nothing else, so that one can be appended."""
        self._told = False
        if resume_after is not None and self._path.exists():
            self._read()
        self._unwritten: dict[int, dict[str, Any]] = {row["step"]: row for row in map(parse_json, unwritten.splitlines())}
        if self._unwritten:
            self._rows |= self._unwritten
            self._whole = False
        self._board = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=(resume_after or 0) + 1)

    def write(self, row: dict[str, float]) -> str:
        """Append a row, which says at what ``step`` it is; it is on disk when this returns, unless the disk refuses it.

        Returns
        -------
        str
            Rows that are not on disk: whoever saves the state after them saves these too, since they are not computed again.
        """
        step = int(row["step"])
        follows = self._whole and step > (last := max(self._rows)) and list(row) == list(self._rows[last])
        self._rows[step] = row
        try:
            if follows:
                self._append(_text([row], header=False))
            else:
                self._replace()
        except OSError as error:
            self._whole = False
            self._unwritten[step] = row
            if not self._told:
                _log.warning("%s: %s%s; rows are kept and written when they can be", self._path, error.strerror, remedy(error.errno))
            self._told = True
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        return "\n".join(map(json.dumps, self._unwritten.values()))

    def finish(self) -> None:
        """See that every row is in the file.

        Raises
        ------
        OSError
            Where that is still not possible.
        """
        if self._rows and not self._whole:
            self._replace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._board is not None:
            self._board.close()

    def _read(self) -> None:
        """Take over the rows that are there; what is no row, as the torn end that a full disk may leave, is not kept."""
        text = read_regular(self._path, _MOST_BYTES).decode(errors="replace")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            number = row.get("step") or ""
            if number.isdecimal() and None not in row.values() and None not in row:
                self._rows[int(number)] = row
        self._whole = bool(self._rows) and text.encode() == _text(self._rows.values())

    def _append(self, text: bytes) -> None:
        descriptor = open_regular(self._path, os.O_WRONLY | os.O_APPEND)
        before = os.fstat(descriptor).st_size
        try:
            append(descriptor, text)
            try:
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _replace(self) -> None:
        self._rows = dict(sorted(self._rows.items()))
        write_file(self._path, _text(self._rows.values()))
        self._whole = True
        self._unwritten.clear()
        self._told = False


def _text(rows: Iterable[dict[str, Any]], header: bool = True) -> bytes:
    rows = list(rows)
    columns = dict.fromkeys(name for row in rows for name in row)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(columns))
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()
