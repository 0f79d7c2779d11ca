"""The arguments CASE and ``--set``, the same for every command that reads a case file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcml.core.case import Case


def add_case_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add CASE and ``--set`` to a sub-command."""
    parser.add_argument("case", metavar="CASE", nargs=None if required else "?", help="case file (TOML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one value, as in training.epochs=10"
    )


def name_of_case(path: str) -> str:
    """Name of a case, and of the folder of what it leaves: that of its file without the suffix.

    Raises
    ------
    ConfigError
        Where that would name a folder that is there: ``...toml`` the one above.

    Communication
    -------------
    Local.
    """
    name = Path(path).stem
    if name in ("", ".", ".."):
        from hpcml.core.errors import ConfigError

        raise ConfigError(f"{path} cannot name the folder of what it leaves: name another with --run or --out, or rename the case")
    return name


def read_case(args: argparse.Namespace, importing: bool = True) -> "Case":
    """Read the case that the arguments name, importing what it names of the user's own unless told otherwise.

    Raises
    ------
    ConfigError
        As `hpcml.core.named.load_complete`.

    Communication
    -------------
    Local: each rank reads the file.
    """
    from hpcml.core.case import Case
    from hpcml.core.named import load_complete

    return load_complete(args.case, Case, args.overrides, importing)
