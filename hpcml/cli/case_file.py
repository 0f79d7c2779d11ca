"""The arguments CASE and ``--set``, the same for every command that reads a case file."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcml.core.case import Case


def add_case_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add CASE and ``--set`` to a sub-command."""
    parser.add_argument("case", metavar="CASE", nargs=None if required else "?", help="case file (TOML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one value, as in training.epochs=10"
    )


def read_case(args: argparse.Namespace) -> "Case":
    """Read the case that the arguments name.

    Raises
    ------
    ConfigError
        As `hpcml.core.config.load_config`.

    Communication
    -------------
    Local: each rank reads the file.
    """
    from hpcml.core.case import Case
    from hpcml.core.config import load_config

    return load_config(args.case, Case, args.overrides)
