"""``hpcml`` and ``python -m hpcml``: the command, which notes a request to stop from its first instruction to its last."""

import os
import sys

from hpcml.core.stop_request import ignore, listen


def start() -> int:
    """Run the command; return the exit status."""
    _take_utf8()
    listen()
    from hpcml.cli.main import main

    try:
        return main()
    finally:
        ignore()


def _take_utf8() -> None:
    """Whatever the locale: case files are UTF-8 and so are the names that they give to files; names that are not stay as they are.

    Python takes the encoding of names and of its output from the locale once, when it starts; so where that is another one, start again.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")


if __name__ == "__main__":
    sys.exit(start())
