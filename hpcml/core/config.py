"""Configuration: TOML text, checked against a schema, every value's origin known to the error message.

case.toml  --tomllib-->  tables  --set a.b=c-->  tables  --schema-->  frozen sections  --tomli_w-->  the resolved case
"""

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpcml.core.config_error import describe
from hpcml.core.errors import ConfigError
from hpcml.core.regular import read_named

_MOST_BYTES = 16 << 20
_DEEP = re.compile(r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')\s*+\.\s*+){100}""")  # the parser's time grows as the square of it
_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")  # as JSON writes it

# Within these bounds numbers can be stored as float32, their squares computed in float64, and sizes in bytes fit into 64 bits.
Count = Annotated[int, Field(gt=0, lt=1 << 31)]
CountOrZero = Annotated[int, Field(ge=0, lt=1 << 31)]
Width = Annotated[int, Field(gt=0, le=1 << 16)]
Depth = Annotated[int, Field(gt=0, le=1000)]
Few = Annotated[int, Field(gt=0, le=100)]  # what multiplies a depth, or goes into a power
FewOrZero = Annotated[int, Field(ge=0, le=100)]
Ratio = Annotated[float, Field(ge=1e-30, le=1000)]  # times a width
Tolerance = Annotated[float, Field(ge=1e-15, le=1)]  # of a residual in float64, over what it is of
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Positive = Annotated[float, Field(ge=1e-30, le=1e30)]
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(ge=0, le=1)]
Real = Annotated[float, Field(ge=-1e30, le=1e30)]
Waves = Annotated[int, Field(gt=-(1 << 31), lt=1 << 31)]
Dims = Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]
Lengths = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
Velocity = Annotated[tuple[Real, ...], Field(min_length=1, max_length=3)]
Draws = Annotated[int, Field(gt=0, le=1 << 16)]  # of points in parameter space, for each of those that are chosen
Hops = Annotated[tuple[Few, ...], Field(min_length=1, max_length=3)]
Norm = Literal["none", "batch", "group", "instance"]


class Section(BaseModel):
    """Base of every table of a configuration: frozen, no unknown keys, no silent conversion (``"3"`` is not a number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


SectionType = TypeVar("SectionType", bound=Section)


def load_config(path: str | Path, schema: type[SectionType], overrides: Iterable[str] = ()) -> SectionType:
    """Read a TOML file, apply overrides, check everything.

    Parameters
    ----------
    path : str or Path
        The file.
    schema : type of Section
        What it must hold.
    overrides : iterable of str
        ``"training.epochs=10"``: a dotted key and a TOML value. What is no TOML is taken as a string.

    Returns
    -------
    Section
        An instance of the schema, complete with defaults.

    Raises
    ------
    ConfigError
        Naming the file or the override, the key, what was expected and what was got, for every mistake at once; for an unknown key
        also the closest known one.

    Communication
    -------------
    Local: each rank reads the file. Ranks that must agree compare the outcome afterwards.
    """
    tables, origins = read_tables(path, overrides)
    return check_config(tables, schema, str(path), origins)


def read_tables(path: str | Path, overrides: Iterable[str] = ()) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Tables of a TOML file with overrides applied, and the override that each key of one came from.

    Raises
    ------
    ConfigError
        For what is no TOML, or no override.

    Communication
    -------------
    Local.
    """
    tables = _read(Path(path))
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        if not _is_text(override):
            raise ConfigError(f"--set {override}: expected text in UTF-8 without NUL characters")
        origins[_override(tables, override)] = f"--set {override}"
    return tables, origins


def check_config(
    tables: dict[str, Any], schema: type[SectionType], source: str, origins: dict[tuple[str, ...], str] | None = None
) -> SectionType:
    """Check tables that are already in memory; ``source`` names them, ``origins`` names single keys, in the error.

    Raises
    ------
    ConfigError
        As `load_config`.

    Communication
    -------------
    Local.
    """
    try:
        # Through JSON, where a list may stand for a tuple although nothing else is converted.
        text = json.dumps(tables, default=str)
        if _NUL.search(text):
            raise ConfigError(f"{source}: expected text without NUL characters, which no name of a file and no attribute can hold")
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(describe(error, schema, tables, source, origins or {})) from None
    except RecursionError:
        raise ConfigError(f"{source}: tables or lists are nested too deeply; no configuration needs more than four levels") from None


def to_toml(config: Section) -> str:
    """Text that `load_config` reads back as the same configuration; what is None is left out.

    Communication
    -------------
    Local.
    """
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_named(path, _MOST_BYTES).decode("utf-8-sig")  # some editors begin with a byte-order mark
        if _DEEP.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: tables or lists are nested too deeply; no configuration needs more than four levels") from None
    except ValueError as error:  # of the parser, of UTF-8, and of numbers with too many digits
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _override(tables: dict[str, Any], text: str) -> tuple[str, ...]:
    """Write one override into the tables and return its key."""
    dotted, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in dotted.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected KEY=VALUE with a dotted key, as in --set training.epochs=10")
    table = tables
    for depth, key in enumerate(keys[:-1], start=1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {text}: {'.'.join(keys[:depth])} is the value {table!r}, not a table that could hold {keys[-1]}")
    table[keys[-1]] = _value(value.strip())
    return keys


def _value(text: str) -> Any:
    """Value of a TOML expression, or the text itself: shells eat quotes, so ``--set model.name=fno`` must do."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _is_text(text: str) -> bool:
    """Whether it can stand in a TOML file, and be the name of a file; on a command line bytes of another encoding cannot."""
    return "\0" not in text and text == text.encode("utf-8", "ignore").decode()
