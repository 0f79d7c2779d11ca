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


def write(folder: Path) -> None:
    """Write all pages into a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in pkgutil.iter_modules(hpcml.__path__):
        if package.ispkg and package.name != "cli":
            (folder / f"{package.name}.rst").write_text(_package(f"hpcml.{package.name}"))
    (folder / "command.rst").write_text(_heading("The command hpcml") + "\n".join(_usages(build_parser())))
    (folder / "case.rst").write_text(_heading("The case file") + "\n".join(_tables(Case.model_json_schema())))


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


def _tables(schema: dict) -> list[str]:
    pages = []
    for name, entry in schema["properties"].items():
        references = [part["$ref"] for part in [entry, *entry.get("oneOf", []), *entry.get("anyOf", [])] if "$ref" in part]
        references += [part["$ref"] for option in entry.get("anyOf", []) for part in option.get("oneOf", [])]
        for reference in references:
            section = schema["$defs"][reference.rpartition("/")[2]]
            tag = next((f"{key} = {value['const']!r}" for key, value in section["properties"].items() if "const" in value), "")
            pages.append(_heading(f"[{name}] {tag}".strip(), "-") + section.get("description", "") + "\n\n" + _definitions(section))
    return pages


def _definitions(section: dict) -> str:
    lines = []
    for key, value in section["properties"].items():
        if "const" not in value:
            default = "required" if key in section.get("required", ()) else f"default {value.get('default')!r}"
            lines.append(f"``{key}`` ({default})\n    {value.get('description', '')}\n")
    return "\n".join(lines)
