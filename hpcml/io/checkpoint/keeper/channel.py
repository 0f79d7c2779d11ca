"""Short messages between a rank and its keeper, with open files attached.

Standard library only: the keeper process imports this file.
"""

import json
import os
import select
import socket
from collections.abc import Sequence
from typing import Any

from hpcml.core.json_text import parse_json

_MESSAGE_BYTES = 1 << 16
_MOST_FILES = 8


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; a message sent at one arrives whole, or not at all, at the other."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send a message and duplicates of open files.

    Raises
    ------
    OSError
        Where nobody is at the other end any more.
    """
    socket.send_fds(end, [json.dumps(message).encode()], list(files))


def ready(ends: Sequence[Any], seconds: float | None) -> list[Any]:
    """Those of some sockets and descriptors that have something to say, by the end of a time; None waits for one.

    Communication
    -------------
    Local.
    """
    poll = select.poll()  # and not `select.select`, which takes no descriptor above 1023
    by_number = {end if isinstance(end, int) else end.fileno(): end for end in ends}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if seconds is None else 1e3 * seconds)]


def receive(end: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one message; None when the other end is closed and everything it sent has been received.

    Raises
    ------
    BlockingIOError
        Where the socket does not block and no message is waiting.
    ValueError
        Where what arrives is no message.
    """
    try:
        data, files, _, _ = socket.recv_fds(end, _MESSAGE_BYTES, _MOST_FILES)
    except ConnectionResetError:  # it died before it had read all; told once, ahead of what it had sent
        data, files, _, _ = socket.recv_fds(end, _MESSAGE_BYTES, _MOST_FILES)
    for file in files:
        os.set_inheritable(file, False)
    if not data:
        return None
    try:
        message = parse_json(data)
        if not isinstance(message, dict):
            raise ValueError("a message is a JSON object")
    except ValueError as error:
        for file in files:
            os.close(file)
        raise ValueError(f"what arrived is no message: {error}") from error
    return message, files
