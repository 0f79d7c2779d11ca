"""``hpcml config``: show a case with all its defaults, or what a case may hold. Runs without MPI and torch."""

import argparse
from typing import Any

from hpcml.cli.case_file import add_case_arguments, read_case


def add_parser(subparsers: Any) -> None:
    """Add ``config show`` and ``config schema``."""
    parser = subparsers.add_parser("config", help="show a case with its defaults, or what a case may hold")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print the case as TOML, complete with defaults")
    add_case_arguments(show)
    show.set_defaults(run=_show)
    actions.add_parser("schema", help="print the JSON schema of case files").set_defaults(run=_schema)


def _show(args: argparse.Namespace) -> int:
    from hpcml.core.config import to_toml

    print(to_toml(read_case(args)), end="")
    return 0


def _schema(args: argparse.Namespace) -> int:
    import json

    from hpcml.core.case import Case
    from hpcml.core.named import with_built_in

    print(json.dumps(with_built_in(Case).model_json_schema(), indent=2))
    return 0
