"""A place in a case that names something, and the case's schema once it is known what is named there.

training.loss = "h1"        ->  Choice(name="h1")           the name is known, its options are not looked at
                            ->  loss_h1(name="h1", ...)     `complete_config`: the options that h1 has, each of its type
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Union, get_args

from pydantic import Field, GetCoreSchemaHandler, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from hpcml.core.config import Section, SectionType, check_config, read_tables
from hpcml.core.errors import ConfigError
from hpcml.core.options import MADE, Choice, choice_of, options_of
from hpcml.core.registry import BUILT_IN


@dataclass(frozen=True, slots=True)
class Named:
    """Marks a field that names a thing of some kind; a bare name stands for a table with no options."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner, shown = handler.generate_schema(choice_of(self.kind)), core_schema.simple_ser_schema("any")  # with all options
        return core_schema.no_info_before_validator_function(_as_table, inner, serialization=shown)


def load_complete(path: str | Path, schema: type[SectionType], overrides: Iterable[str] = (), importing: bool = True) -> SectionType:
    """`hpcml.core.config.load_config`, the options of everything named included.

    Parameters
    ----------
    path, schema, overrides
        As there.
    importing : bool
        Whether the user's own modules may be imported; else options of what is theirs are not looked at.

    Raises
    ------
    ConfigError
        As there, and where what is named cannot be imported.

    Communication
    -------------
    Local: each rank reads the file, and imports the user's own modules that it names.
    """
    tables, origins = read_tables(path, overrides)
    return complete_config(tables, schema, str(path), origins, importing)


def complete_config(
    tables: dict[str, Any],
    schema: type[SectionType],
    source: str,
    origins: dict[tuple[str, ...], str] | None = None,
    importing: bool = True,
) -> SectionType:
    """`hpcml.core.config.check_config`, the options of everything named included.

    Raises
    ------
    ConfigError
        As there, and where what is named cannot be imported.

    Communication
    -------------
    Local.
    """
    try:
        completed, tables = _completed(schema, tables, source, importing)
    except ConfigError:
        check_config(tables, schema, source, origins)  # with all other mistakes, in the words of the case
        raise
    return check_config(tables, completed, source, origins)


def with_built_in(schema: type[Section]) -> type[Section]:
    """The schema of a configuration that names whatever hpcml has, each with its options; for editors and for the documentation.

    Communication
    -------------
    Local.
    """
    fields: dict[str, Any] = {}
    for key, field in schema.model_fields.items():
        annotation: Any = field.annotation
        if (named := _named_in(field)) is not None:
            own = [options_of(named.kind, name) for name, target in BUILT_IN[named.kind].items() if target.startswith("hpcml.")]
            annotation = Union[tuple([*own, Choice])]  # noqa: UP007  of a list
        elif isinstance(annotation, type) and issubclass(annotation, Section):
            annotation = with_built_in(annotation)
        fields[key] = (annotation, Field(... if field.is_required() else field.default, description=field.description))
    return create_model(schema.__name__, __base__=Section, __doc__=schema.__doc__, __cls_kwargs__=MADE, **fields)


def _completed(
    schema: type[SectionType], tables: dict[str, Any], source: str, importing: bool, prefix: str = ""
) -> tuple[type[SectionType], dict[str, Any]]:
    """Schema and tables, the latter with a table in place of every bare name."""
    fields: dict[str, Any] = {}
    tables = dict(tables)
    for key, field in schema.model_fields.items():
        chosen = tables.get(key)
        if (named := _named_in(field)) is not None:
            name = chosen.get("name") if isinstance(chosen, dict) else chosen or getattr(field.default, "name", None)
            if isinstance(name, str):
                if chosen == name:
                    tables[key] = _as_table(name)
                try:
                    section = options_of(named.kind, name, importing)
                except ConfigError as error:
                    raise ConfigError(f"{source}: {prefix}{key}.name: {error}") from error
                fields[key] = _field(section, field, partial(section, name=name))
        elif (within := _section_of(field, chosen)) is not None:
            inner, table = _completed(within, chosen if isinstance(chosen, dict) else {}, source, importing, f"{prefix}{key}.")
            if isinstance(chosen, dict):
                tables[key] = table
            if inner is not within:
                fields[key] = _field(inner, field, inner)
    return (create_model(schema.__name__, __base__=schema, __cls_kwargs__=MADE, **fields) if fields else schema), tables


def _field(annotation: Any, field: FieldInfo, default: Callable[[], Section]) -> tuple[Any, Any]:
    """A field as it was, of another type; what is there by default is complete too."""
    if field.is_required() or field.default is None:
        return annotation, Field(... if field.is_required() else None, description=field.description)
    return annotation, Field(default_factory=default, description=field.description)


def _section_of(field: FieldInfo, chosen: Any) -> type[Section] | None:
    """The section that a field is, or the one of several that its table says it is."""
    kinds = get_args(field.annotation) if isinstance(field.discriminator, str) else (field.annotation,)
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
    if not isinstance(field.discriminator, str):
        return next(iter(sections), None)
    said = chosen.get(field.discriminator) if isinstance(chosen, dict) else None
    return next((kind for kind in sections if said in get_args(kind.model_fields[field.discriminator].annotation)), None)


def _named_in(field: FieldInfo) -> Named | None:
    """The mark of a field, which pydantic keeps beside its type, or with one member of ``... | None``."""
    inner = [mark for member in get_args(field.annotation) for mark in getattr(member, "__metadata__", ())]
    return next((mark for mark in [*field.metadata, *inner] if isinstance(mark, Named)), None)


def _as_table(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value
