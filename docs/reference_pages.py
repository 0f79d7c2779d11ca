"""Reference pages that are read off the package itself, so that they can neither lag behind nor be forgotten.

One page per sub-package, from its docstrings; one for the command, from its parsers; one for the case file, from its schema.
"""

import argparse
import importlib
import io
import pkgutil
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import hpcml
from hpcml.cli.main import build_parser
from hpcml.core.case import Case
from hpcml.core.named import with_built_in


def write(folder: Path) -> None:
    """Write all pages into a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in pkgutil.iter_modules(hpcml.__path__):
        if package.ispkg and package.name != "cli":
            (folder / f"{package.name}.rst").write_text(_package(f"hpcml.{package.name}"))
    (folder / "command.rst").write_text(_heading("The command hpcml") + "\n".join(_usages(build_parser())))
    (folder / "case.rst").write_text(_heading("The case file") + "\n".join(_tables(with_built_in(Case).model_json_schema())))


def _heading(text: str, underline: str = "=") -> str:
    return f"{text}\n{underline * len(text)}\n\n"


def _package(name: str) -> str:
    package = importlib.import_module(name)
    modules = [module.name for module in pkgutil.walk_packages(package.__path__, f"{name}.")]
    return _heading(name) + "\n".join([f".. automodule:: {name}\n", *(_module(module) for module in modules)])


def _module(name: str) -> str:
    return _heading(name.partition(".")[2], "-") + f".. automodule:: {name}\n   :members:\n"


def _usages(parser: argparse.ArgumentParser) -> list[str]:
    with redirect_stdout(io.StringIO()) as text:
        parser.print_help()
    indented = "\n".join(f"   {line}" for line in text.getvalue().splitlines())
    pages = [_heading(parser.prog, "-") + f".. code-block:: text\n\n{indented}\n"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            pages += [page for child in action.choices.values() for page in _usages(child)]
    return pages


def _tables(schema: dict, section: dict | None = None, prefix: str = "") -> list[str]:
    """One heading per table, those within tables and each thing that may be named included."""
    pages = []
    for name, entry in (section or schema)["properties"].items():
        for reference in _references(entry):
            inner = schema["$defs"][reference]
            tag = next((f"{key} = {value['const']!r}" for key, value in inner["properties"].items() if "const" in value), "")
            if tag or reference != "Choice":
                text = inner.get("description", "") + "\n\n" + _definitions(inner)
                pages.append(_heading(f"[{prefix}{name}] {tag}".strip(), "-") + text)
                pages += _tables(schema, inner, f"{prefix}{name}.")
    return pages


def _references(entry: dict) -> list[str]:
    """Sections that a key may hold."""
    if "$ref" in entry:
        return [entry["$ref"].rpartition("/")[2]]
    return [name for part in [*entry.get("oneOf", []), *entry.get("anyOf", [])] for name in _references(part)]


def _definitions(section: dict) -> str:
    lines = []
    for key, value in section["properties"].items():
        if "const" not in value:
            default = "required" if key in section.get("required", ()) else f"default {value.get('default')!r}"
            kind = "see below" if _references(value) else _kind(value)
            text = " ".join(value.get("description", "").replace("*", "\\*").split())
            lines.append(f"``{key}`` ({kind}; {default})\n    {text}\n")
    return "\n".join(lines)


def _kind(value: dict) -> str:
    """What a key takes, in words."""
    if "anyOf" in value:
        return " or ".join(_kind(part) for part in value["anyOf"] if part.get("type") != "null")
    if "enum" in value or "const" in value:
        return ", ".join(repr(choice) for choice in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        entries = value.get("prefixItems") or [value.get("items", {})]
        return "list of " + ", ".join(dict.fromkeys(_kind(entry) for entry in entries))
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    limits = "".join(f" {word} {value[key]:g}" for key, word in bounds.items() if key in value)
    return {"string": "text", "object": "table"}.get(value.get("type", ""), value.get("type", "anything")) + limits
