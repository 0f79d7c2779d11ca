"""What a configuration's mistakes read like: one line each, in the words of the file rather than of the checking library."""

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Key = tuple[Any, ...]

_MOST_TOLD, _MOST_SHOWN = 20, 200  # mistakes, and characters of a value: beyond, nobody reads and the search for likely keys takes minutes
LIKE = 0.65  # above it, a misspelt key was meant in every case of the tests; below it, `modes` looks like `nodes` and like `padding_mode`


def describe(error: ValidationError, schema: type[BaseModel], tables: Mapping[str, Any], source: str, origins: Mapping[Key, str]) -> str:
    """All mistakes of a configuration, one per line.

    Parameters
    ----------
    error : ValidationError
        What pydantic found.
    schema : type of BaseModel
        What it was checked against.
    tables : mapping
        What was checked.
    source : str
        Name of the file.
    origins : mapping
        Names of the keys that come from elsewhere.

    Returns
    -------
    str
        ``file: key: what was expected, what was got``, or the closest known key for an unknown one.

    Communication
    -------------
    Local.
    """
    by_key: dict[Key, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(_key(detail, tables), []).append(detail)
    told = list(by_key.items())[:_MOST_TOLD]
    lines = [f"{_origin(key, source, origins)}: {_complaint(key, details, schema, tables)}" for key, details in told]
    if len(by_key) > len(told):
        lines.append(f"{source}: and {len(by_key) - len(told)} more mistakes")
    return "\n".join(lines)


def _complaint(key: Key, details: list[ErrorDetails], schema: type[BaseModel], tables: Mapping[str, Any]) -> str:
    name, context = _shortened(".".join(map(str, key))), details[0].get("ctx", {})
    discriminator = str(context.get("discriminator")).strip("'")
    match details[0]["type"]:
        case "extra_forbidden":
            return f"unknown key {name}: {_suggestion(name, list(_known_keys(schema, tables)))}"
        case "missing" if isinstance(key[-1], int):
            return f"{_shortened('.'.join(map(str, key[:-1])))}: expected at least {key[-1] + 1} entries, got {key[-1]}"
        case "missing":
            return f"{name} is missing"
        case "union_tag_not_found":
            return f"{name}.{discriminator} is missing"
        case "union_tag_invalid":
            return f"{name}.{discriminator}: expected one of {context['expected_tags']}, got {_shortened(repr(context['tag']))}"
        case "value_error":
            return f"{name}: {context['error']}".removeprefix(": ")
    expected = dict.fromkeys(_expectation(detail) for detail in details)
    return f"{name}: expected {' or '.join(expected)}, got {_shortened(repr(_value_at(tables, key)))}"


def _expectation(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "too_long":
            return f"at most {detail['ctx']['max_length']} entries"
        case "too_short":
            return f"at least {detail['ctx']['min_length']} entries"
        case "tuple_type":
            return "a list"
        case "model_type" | "model_attributes_type":
            return "a table"
        case "greater_than_equal" | "less_than_equal" as kind:
            (bound,) = detail["ctx"].values()
            return f"{kind.replace('_', ' ').replace(' than equal', ' than or equal')} to {bound:{'g' if isinstance(bound, float) else ''}}"
    return detail["msg"].removeprefix("Input should be ")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text)} characters)"


def _key(detail: ErrorDetails, tables: Mapping[str, Any]) -> Key:
    """Key as the user wrote it: pydantic's location without the names of union members, which stand in no file."""
    key: list[Any] = []
    here: Any = tables
    last = len(detail["loc"]) - 1
    for place, part in enumerate(detail["loc"]):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int) and part < len(here)):
            here = here[part]  # type: ignore[index]
        elif not (place == last and detail["type"] == "missing"):
            continue
        key.append(part)
    return tuple(key)


def _value_at(tables: Mapping[str, Any], key: Key) -> Any:
    value: Any = tables
    for part in key:
        value = value[part]
    return value


def _origin(key: Key, source: str, origins: Mapping[Key, str]) -> str:
    return next((origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origins), source)


def _known_keys(schema: type[BaseModel], tables: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key that the schema allows; of a union of sections, those of the member that the tables chose."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        table = tables.get(name)
        table = table if isinstance(table, dict) else {}
        sections = list(_sections(field.annotation))
        for section in sections:
            tags = {key: tag.annotation for key, tag in section.model_fields.items() if tag.is_required()}
            if len(sections) == 1 or all(table.get(key) in get_args(tag) for key, tag in tags.items() if get_origin(tag) is Literal):
                yield from _known_keys(section, table, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _suggestion(name: str, known: list[str]) -> str:
    """Likest known key by its last part, in whatever table; all keys of this table when none is like it."""
    table, _, last = name.rpartition(".")
    siblings = [key for key in known if key.rpartition(".")[0] == table]
    elsewhere = [key for key in known if key not in siblings and not name.startswith(f"{key}.")]
    alike = {key: SequenceMatcher(None, last, key.rpartition(".")[2]).ratio() for key in siblings + elsewhere}
    key = max(alike, key=alike.__getitem__)
    return f"did you mean {key}?" if alike[key] > LIKE else f"known are {', '.join(siblings)}"
