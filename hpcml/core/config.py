"""Configuration: TOML text, checked against a schema, every value's origin known to the error message.

case.toml  --tomllib-->  tables  --set a.b=c-->  tables  --schema-->  frozen sections  --tomli_w-->  the resolved case
"""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from hpcml.core.config_error import describe
from hpcml.core.errors import ConfigError


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
    tables = _read(Path(path))
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        origins[_override(tables, override)] = f"--set {override}"
    return check_config(tables, schema, str(path), origins)


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
        return schema.model_validate_json(json.dumps(tables, default=str))
    except ValidationError as error:
        raise ConfigError(describe(error, schema, tables, source, origins or {})) from None


def to_toml(config: Section) -> str:
    """Text that `load_config` reads back as the same configuration; what is None is left out.

    Communication
    -------------
    Local.
    """
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text
