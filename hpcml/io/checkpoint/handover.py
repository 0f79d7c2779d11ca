"""A keeper whose rank is dead hands its memory over to whoever restarts the run.

Standard library only: the keeper process imports this file.
"""

import os
import select
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcml.io.checkpoint.channel import meeting_point, receive, send


def open_point(folder: Path, rank: int) -> socket.socket:
    """Let the keeper of a rank be found by who restarts the run in a folder.

    Communication
    -------------
    Local.
    """
    point = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    point.bind(f"{meeting_point(folder)}{rank}-{os.getpid()}")
    point.listen()
    return point


def hand_over(point: socket.socket, offer: dict[str, Any], files: list[int], linger: float) -> None:
    """Share files with every process of the same user that asks, until one says that they are no longer needed, or `linger` seconds.

    Communication
    -------------
    Local.
    """
    visitors: list[socket.socket] = []
    deadline = time.monotonic() + linger
    while visitors or time.monotonic() < deadline:
        ready, _, _ = select.select([point, *visitors], [], [], None if visitors else max(0.0, deadline - time.monotonic()))
        for source in ready:
            if source is not point:
                if receive(source) is not None:
                    return
                visitors.remove(source)
                continue
            visitor, _ = point.accept()
            credentials = visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", credentials)[1] == os.getuid():
                with suppress(OSError):
                    send(visitor, offer, files)
                    visitors.append(visitor)
