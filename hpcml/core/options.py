"""Options of what a case names: the parameters of its signature, their types, defaults and descriptions.

    class FNO:                                          [model]
        def __init__(self, domain, in_channels,    ->   name = "fno"
            out_channels, channels: Width = 32, ...)    channels = 32        # an integer from 1 to 65536

Signatures of hpcml's own are read from the text of their modules, so that a login node without torch can check a case; others are imported.
"""

import ast
import collections.abc
import inspect
import typing
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import docstring_parser
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model

import hpcml
from hpcml.core import config
from hpcml.core.config import Section
from hpcml.core.errors import ConfigError
from hpcml.core.registry import load, target_of

GIVEN = {
    "model": {"domain", "graph", "space", "in_channels", "out_channels", "along"},  # the last are graphs, which no text can give
    "equation": set[str](),
    "solver": {"equation", "domain", "graph", "space", "dt"},
    "loss": set[str](),
    "optimiser": {"params", "lr"},
    "schedule": set[str](),
    "layout": {"path"},
    "stream": {"domain", "graph", "space", "samples"},
    "simulation": {"domain", "comm", "number", "seed", "interval", "parameters", "fields"},
    "buffer": {"capacity", "watermark", "draws"},
    "sampler": {"simulations", "dims", "seed"},
    "residual": {"domain", "parameters", "interval", "before", "after"},
    "postprocess": set[str](),
}
"""By kind, the parameters that the run gives by name; all others are options."""

FIRST = {"loss": 3, "schedule": 1, "postprocess": 1}
"""By kind, how many first parameters of a function the run gives: ``loss(domain, prediction, target)``, ``schedule(done)``,
``postprocess(outcome)``."""

MADE = {"use_attribute_docstrings": False}
"""For sections made here, which have no text: pydantic would look through all modules, once for each caller, for the one that has it."""


class Choice(Section):
    """Something that a case names, and its options, which are checked where their signature is known."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), arbitrary_types_allowed=True)

    name: str
    """A short name, or ``module:name`` of one's own."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return {key: value for key, value in self if key != "name"}


@cache
def choice_of(kind: str) -> type[Choice]:
    """Section of a name that is known as one of a kind, with options that nobody has looked at.

    Communication
    -------------
    Local.
    """

    def known(name: str) -> str:
        target_of(kind, name)
        return name

    field = Choice.model_fields["name"]
    name: Any = (Annotated[str, AfterValidator(known)], field)
    return create_model(kind, __base__=Choice, __doc__=Choice.__doc__, __cls_kwargs__=MADE, name=name)


@cache
def options_of(kind: str, name: str, importing: bool = True) -> type[Choice]:
    """Section that holds a name and its options.

    Parameters
    ----------
    kind : str
        Key of `GIVEN`.
    name : str
        As a case gives it.
    importing : bool
        Whether what is not hpcml's may be imported; else its options are taken as they are.

    Raises
    ------
    ConfigError
        Where there is nothing of that name.

    Communication
    -------------
    Local: own modules are imported, hpcml's are read.
    """
    target = target_of(kind, name)
    if not importing and not target.startswith("hpcml."):
        return choice_of(kind)
    parameters, doc, is_class = _read(target) if target.startswith("hpcml.") else _imported(kind, name)
    told = {key.strip(): part.description for part in docstring_parser.parse(doc).params for key in part.arg_name.split(",")}
    fields: dict[str, Any] = {}
    extra: Literal["allow", "forbid"] = "forbid"
    for parameter in parameters if is_class else parameters[FIRST.get(kind, 0) :]:
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in {"self", "name", *GIVEN[kind]}:
            default = ... if parameter.default is parameter.empty else parameter.default
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[parameter.name] = (annotation, Field(default, description=told.get(parameter.name)))
    fields["name"] = (Literal[name], ...)
    summary = docstring_parser.parse(doc).short_description or ""
    try:
        made: Any = create_model(f"{kind}_{name}", __base__=choice_of(kind), __doc__=summary, __cls_kwargs__=MADE, **fields)
    except (TypeError, NameError, ValueError) as error:  # pydantic's, of a parameter that no table can give
        raise ConfigError(f"{name!r}: its signature cannot be options of a case: {error}") from error
    made.model_config["extra"] = extra
    made.model_rebuild(force=True)
    return cast(type[Choice], made)


def build_function(kind: str, choice: Choice) -> Any:
    """What is called while a case runs: a function with its options filled in, or an object of a class made with them.

    Raises
    ------
    ConfigError
        Where there is nothing of that name, and where an object cannot be called.

    Communication
    -------------
    Local.
    """
    found = load(kind, choice.name)
    made = found(**choice.options) if isinstance(found, type) else partial(found, **choice.options)
    if not callable(made):
        raise ConfigError(f"{choice.name!r} makes {type(made).__name__}, which cannot be called as a {kind}")
    return made


def accepts(found: Any) -> set[str] | None:
    """Names of the parameters of a class or function; None where it takes any."""
    parameters = inspect.signature(found).parameters.values()
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}


def _imported(kind: str, name: str) -> tuple[list[inspect.Parameter], str, bool]:
    found = load(kind, name)
    try:
        parameters = list(inspect.signature(found, eval_str=True).parameters.values())
    except (ValueError, TypeError, NameError) as error:
        raise ConfigError(f"{name!r}: its signature cannot be read: {error}") from error
    return parameters, inspect.getdoc(found) or "", isinstance(found, type)


def _read(target: str) -> tuple[list[inspect.Parameter], str, bool]:
    module, _, attribute = target.partition(":")
    path = Path(hpcml.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == attribute)
    return list(_parameters(node)), ast.get_docstring(node) or "", isinstance(node, ast.ClassDef)


def _parameters(node: ast.ClassDef | ast.FunctionDef) -> Iterator[inspect.Parameter]:
    """Of a function, of a class's ``__init__``, or the fields of a dataclass."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not inits:
            for n in node.body:
                if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and "ClassVar" not in ast.dump(n.annotation):
                    yield _parameter(n.target.id, n.annotation, n.value)
            return
        node = inits[0]
    every = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(every) - len(node.args.defaults)) + node.args.defaults
    for argument, default in zip([*every, *node.args.kwonlyargs], [*defaults, *node.args.kw_defaults], strict=True):
        yield _parameter(argument.arg, argument.annotation, default)


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is None else _value(default),
        annotation=inspect.Parameter.empty if annotation is None else _value(annotation, unknown=_OF_PYTHON),
    )


def _left_out(value: Any) -> Any:
    if value is not None:
        raise ValueError("expected nothing, since no text can be what it takes in Python: leave it out")
    return value


_OF_PYTHON = Annotated[Any, BeforeValidator(_left_out)]


def _value(expression: ast.expr, unknown: Any = Any) -> Any:
    """Value of an annotation or a default of hpcml's own, or ``unknown`` where it needs torch, of which no table can give anything."""
    words = {**vars(typing), **vars(collections.abc), **vars(config), "Annotated": Annotated}
    try:
        return eval(compile(ast.Expression(expression), "<signature>", "eval"), words)
    except NameError:
        return unknown
