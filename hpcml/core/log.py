"""The log of a job: every line says which rank on which host wrote it, and thousands of ranks do not write the same thing.

    14:03:07 [r0003/0512 n07:cuda:2] WARNING  message

Modules ask ``logging.getLogger(__name__)`` for their logger and never configure anything; the command line opens a `rank_log` around a
job. The root logger belongs to the program that imports hpcml and is left alone.
"""

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from hpcml.core.append import append
from hpcml.core.printable import LINES, printable
from hpcml.core.regular import open_regular

_MOST_LATE = 10_000
"""Lines that are kept while the disk refuses them."""
_LOGGER = logging.getLogger("hpcml")


@contextmanager
def rank_log(rank: int, size: int, device: str = "cpu", folder: Path | None = None, level: int = logging.INFO) -> Iterator[None]:
    """Log to the terminal, and to a file per rank if a folder is given, until the block ends.

    Parameters
    ----------
    rank, size : int
        Of this process in its world.
    device : str
        Where it computes, for the prefix.
    folder : Path, optional
        Gets ``rank0003.log``, appended to, with everything from `level` on.
    level : int
        Least level that rank 0 shows; other ranks show warnings and worse.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> with rank_log(0, 1):
    ...     logging.getLogger("hpcml.training").debug("not shown")
    """
    width = max(4, len(str(size)))
    prefix = f"[r{rank:0{width}d}/{size:0{width}d} {socket.gethostname().partition('.')[0]}:{device}]".replace("%", "%%")
    terminal = _Terminal(sys.stdout if rank == 0 else sys.stderr)
    terminal.setLevel(level if rank == 0 else max(level, logging.WARNING))
    terminal.addFilter(lambda record: rank == 0 or not getattr(record, "alike", False))  # what all ranks would say
    handlers: list[logging.Handler] = [terminal]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(_File(folder / f"rank{rank:0{width}d}.log"))
    formatter = _Formatter(f"%(asctime)s {prefix} %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    before = _LOGGER.level, _LOGGER.propagate
    _LOGGER.setLevel(level)
    _LOGGER.propagate = False
    for handler in handlers:
        handler.setFormatter(formatter)
        _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.setLevel(before[0])
        _LOGGER.propagate = before[1]
        for handler in handlers:
            _LOGGER.removeHandler(handler)
            handler.close()


class _Formatter(logging.Formatter):
    """Messages hold names that are in files, which anybody may have written."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, as a terminal may show it."""
        return printable(super().format(record), LINES)


class _Terminal(logging.StreamHandler[TextIO]):
    """Falls silent when nobody listens any more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Of what `emit` raises."""
        if isinstance(sys.exception(), OSError):
            self.setLevel(logging.CRITICAL + 1)
            with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())  # takes what the stream still holds, which would be an error at the end
        else:
            super().handleError(record)


class _File(logging.Handler):
    """Appends whole lines; those that the disk refuses are written with the next one that it takes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._late, self._told = path, deque[str](maxlen=_MOST_LATE), False
        self._file = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            self._late.append(self.format(record) + "\n")
            self._write()
        except OSError as error:
            if not self._told:
                print(f"hpcml: {self._path}: {error.strerror}; lines are kept and written when they can be", file=sys.stderr)
            self._told = True
        except Exception:  # whatever a record of anybody cannot be formatted by: said as logging itself says it
            self.handleError(record)

    def close(self) -> None:
        """Write what is left, if the disk takes it, and close."""
        with suppress(OSError):
            self._write()
        os.close(self._file)
        super().close()

    def _write(self) -> None:
        append(self._file, "".join(self._late).encode("utf-8", "backslashreplace"))
        self._late.clear()
        self._told = False
