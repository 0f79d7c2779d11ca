"""Reference pages that are read off the package itself, so that they can neither lag behind nor be forgotten.

One page per package that offers names, each under the shortest name by which it is imported; modules without such names have a section
where another page speaks of them. One page for the command, from its parsers; one for the case file, from its schema.
"""

import argparse
import importlib
import io
import pkgutil
import re
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
    offered = _offered()
    spoken_of = _spoken_of(folder.parents[1], offered)
    for package in sorted({*offered, *(name.rpartition(".")[0] for name in spoken_of)}):
        modules = [name for name in spoken_of if name.rpartition(".")[0] == package]
        path = folder / f"{package.removeprefix('hpcml.')}.rst"
        path.write_text(_page(package, offered.get(package, {}), modules))
    (folder / "command.rst").write_text(_heading("The command hpcml") + "\n".join(_usages(build_parser())))
    (folder / "case.rst").write_text(_heading("The case file") + "\n".join(_tables(with_built_in(Case).model_json_schema())))


def _offered() -> dict[str, dict[str, str]]:
    """What each package offers: by name, the shortest full name of the same thing."""
    packages = ["hpcml", *(module.name for module in pkgutil.walk_packages(hpcml.__path__, "hpcml.") if module.ispkg)]
    offered: dict[str, dict[str, str]] = {}
    shortest: dict[int, str] = {}
    for package in sorted(packages, key=lambda name: name.count(".")):
        loaded = importlib.import_module(package)
        names = sorted(hpcml._HOMES) if loaded is hpcml else getattr(loaded, "__all__", [])
        if names:
            offered[package] = {name: shortest.setdefault(id(getattr(loaded, name)), f"{package}.{name}") for name in names}
    return offered


def _spoken_of(docs: Path, offered: dict[str, dict[str, str]]) -> list[str]:
    """Modules that some page imports from or points to, and that of the errors; not those whose names a package offers."""
    homes = {getattr(getattr(importlib.import_module(package), name), "__module__", "") for package in offered for name in offered[package]}
    text = "\n".join(path.read_text() for path in docs.rglob("*.md"))
    names = {"hpcml.core.errors", *re.findall(r"\bhpcml(?:\.[a-z_0-9]+)+", text)}
    root = Path(hpcml.__file__).parents[1]
    return sorted(name for name in names - homes if root.joinpath(*name.split(".")).with_suffix(".py").exists())


def _heading(text: str, underline: str = "=") -> str:
    return f"{text}\n{underline * len(text)}\n\n"


def _page(package: str, offered: dict[str, str], modules: list[str]) -> str:
    """The package, what it offers, and the modules of it that are imported from by themselves."""
    entries = [_entry(package, name, home) for name, home in offered.items()]
    return _heading(package) + "\n".join([f".. automodule:: {package}\n", *entries, *map(_module, modules)])


def _entry(package: str, name: str, home: str) -> str:
    full = f"{package}.{name}"
    if home != full:
        return f"* ``{full}`` is :py:obj:`{home}`\n"
    thing = getattr(importlib.import_module(package), name)
    if not isinstance(thing, type):
        return f".. {'autofunction' if callable(thing) and hasattr(thing, '__qualname__') else 'autodata'}:: {full}\n"
    return f".. auto{'exception' if issubclass(thing, Exception) else 'class'}:: {full}\n   :members:\n"


def _module(name: str) -> str:
    return _heading(name, "-") + f".. automodule:: {name}\n   :members:\n"


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
