"""A keeper whose rank is dead hands its memory over to whoever restarts the run.

    restart --secret--> keeper      both see first that the other is of the same user
    restart <--secret, what it holds, memory-- keeper

Standard library only: the keeper process imports this file.
"""

import socket
import time
from contextlib import suppress
from typing import Any

from hpcml.io.checkpoint.keeper.channel import ready, receive, send
from hpcml.io.checkpoint.keeper.session import Session, is_same_user

_MOST_WAITING = 4096  # restarting ranks of a node, while the keeper still writes


def open_point(session: Session, rank: int) -> socket.socket:
    """Let the keeper of a rank be found by who restarts the run.

    Communication
    -------------
    Local.
    """
    point = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    point.bind(session.point(rank))
    point.listen(_MOST_WAITING)
    return point


def hand_over(point: socket.socket, secret: str, offer: dict[str, Any], files: list[int], linger: float) -> None:
    """Share files with the processes of the same user that know the secret, until one says that it needs them no more, or `linger` seconds.

    Communication
    -------------
    Local.
    """
    strangers: list[socket.socket] = []
    visitors: list[socket.socket] = []
    deadline = time.monotonic() + linger
    while visitors or time.monotonic() < deadline:
        patience = None if visitors else max(0.0, deadline - time.monotonic())
        for source in ready([point, *strangers, *visitors], patience):
            if source is point:
                caller, _ = point.accept()
                if is_same_user(caller):
                    strangers.append(caller)
                else:
                    caller.close()
            elif source in strangers:
                strangers.remove(source)
                if _is_answered(source, secret, offer, files):
                    visitors.append(source)
                else:
                    source.close()
            elif _hears(source) is not None:
                return
            else:
                visitors.remove(source)
                source.close()


def _is_answered(caller: socket.socket, secret: str, offer: dict[str, Any], files: list[int]) -> bool:
    """Share files with a caller that knows the secret; False for any other."""
    said = _hears(caller)
    if said is None or said.get("secret") != secret:
        return False
    with suppress(OSError):
        send(caller, {"secret": secret, **offer}, files)
        return True
    return False


def _hears(caller: socket.socket) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        received = receive(caller)
        return received and received[0]
    return None
