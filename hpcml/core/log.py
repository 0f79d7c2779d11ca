"""The log of a job: every line says which rank on which host wrote it, and thousands of ranks do not write the same thing.

    14:03:07 [r0003/0512 n07:cuda:2] WARNING  message

Modules ask ``logging.getLogger(__name__)`` for their logger and never configure anything; the command line opens a `rank_log` around a
job. The root logger belongs to the program that imports hpcml and is left alone.
"""

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    terminal = logging.StreamHandler(sys.stdout if rank == 0 else sys.stderr)
    terminal.setLevel(level if rank == 0 else max(level, logging.WARNING))
    terminal.addFilter(lambda record: rank == 0 or not getattr(record, "alike", False))  # what all ranks would say
    handlers: list[logging.Handler] = [terminal]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(folder / f"rank{rank:0{width}d}.log", encoding="utf-8", errors="backslashreplace"))
    formatter = logging.Formatter(f"%(asctime)s {prefix} %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
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
