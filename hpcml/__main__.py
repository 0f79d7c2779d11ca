"""``hpcml`` and ``python -m hpcml``: the command, which notes a request to stop from its first instruction on."""

import sys

from hpcml.core.stop_request import listen


def start() -> int:
    """Run the command; return the exit status."""
    listen()
    from hpcml.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
