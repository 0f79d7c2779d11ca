"""The process of a keeper: ``python -m hpcml.io.checkpoint.keeper CHANNEL OPTIONS``."""

import os
import socket
import sys
import traceback
from contextlib import suppress

from hpcml.core.json_text import parse_json
from hpcml.io.checkpoint.keeper.channel import send
from hpcml.io.checkpoint.keeper.keeper import Keeper


def main() -> None:
    """Keep the copies of one rank, and tell it of an error that ends this process."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    with suppress(OSError):  # the launcher may have bound the rank to one core: do not compete for it
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        Keeper(channel, **parse_json(sys.argv[2])).run()
    except Exception:
        with suppress(OSError):
            send(channel, {"crashed": traceback.format_exc()})
        raise


if __name__ == "__main__":
    main()
