"""The tasks of an array: a CSV file, one run per line, one dotted key of the case per column."""

import csv
import io
import re
from pathlib import Path

from hpcml.core.errors import ConfigError
from hpcml.core.regular import read_named
from hpcml.slurm.job import Row

_MOST_BYTES = 16 << 20
MOST_ROWS = 10_000
"""Beyond, clusters refuse an array, and a script holds megabytes."""
NAME = "name"
"""The column that names runs, where there is one; otherwise they are numbered."""


def read_params(path: str | Path) -> tuple[Row, ...]:
    """Read the tasks of an array.

    Parameters
    ----------
    path : str or Path
        CSV, ``name,training.learning_rate,model.channels``; an empty cell leaves the value of the case.

    Returns
    -------
    tuple of Row
        In the order of the file.

    Raises
    ------
    ConfigError
        Naming the line, for what is no table of that kind.

    Communication
    -------------
    Local.
    """
    try:
        text = read_named(Path(path), _MOST_BYTES).decode("utf-8-sig")
        header, *lines = [*csv.reader(io.StringIO(text, newline=""), strict=True)] or [[]]
    except OSError as error:
        raise ConfigError(f"cannot read the parameters {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no CSV file in UTF-8: {error}") from None
    keys = [key.strip() for key in header]
    if not keys or len({*keys}) < len(keys) or not all(key == NAME or re.fullmatch(r"[\w-]+(\.[\w-]+)+", key) for key in keys):
        raise ConfigError(f"{path}: expected a first line of dotted keys, each once, as in name,training.learning_rate; got {header}")
    rows = [_row(path, number, keys, cells) for number, cells in enumerate(lines, 2) if cells]
    if not 0 < len(rows) <= MOST_ROWS:
        raise ConfigError(f"{path} has {len(rows)} lines of values: expected 1 to {MOST_ROWS}")
    width = len(str(len(rows)))
    named = [Row(row.name or f"{number:0{width}}", row.overrides) for number, row in enumerate(rows, 1)]
    if twice := next((row.name for row in named if sum(other.name == row.name for other in named) > 1), None):
        raise ConfigError(f"{path}: two runs are called {twice!r}, and would share a folder")
    return tuple(named)


def _row(path: str | Path, number: int, keys: list[str], cells: list[str]) -> Row:
    if len(cells) != len(keys):
        raise ConfigError(f"{path}, line {number}: expected {len(keys)} values, got {len(cells)}")
    values = dict(zip(keys, (cell.strip() for cell in cells), strict=True))
    name = values.pop(NAME, "")
    if name and not re.fullmatch(r"[\w+=,@-][\w.+=,@-]*", name):
        raise ConfigError(f"{path}, line {number}: {name!r} cannot name a folder: letters, digits and any of _.+=,@-")
    return Row(name, tuple(f"{key}={value}" for key, value in values.items() if value))
