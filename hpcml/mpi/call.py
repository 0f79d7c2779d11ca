"""Which layer or function this rank is in, in the user's words: what errors name, and what ranks compare before they exchange anything."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PACKAGE = str(Path(__file__).parents[1])
LIBRARIES = "site-packages", "dist-packages", "/lib/python3"
_current = ""
_numbers = {"": 0}


def current_call() -> str:
    """Name of the outermost layer or function of hpcml that is under way; empty outside of all.

    Communication
    -------------
    Local.
    """
    return _current


@cache
def compares_lines() -> bool:
    """Whether ranks also compare the lines of the caller's code that their calls come from: ``$HPCML_CHECK_CALLS``, for debugging.

    Communication
    -------------
    Local.
    """
    return os.environ.get("HPCML_CHECK_CALLS", "0") not in ("", "0")


def compared_call() -> str:
    """What of a call must be alike on all ranks: `current_call`, with `compares_lines` and the lines that it comes from.

    Communication
    -------------
    Local.
    """
    return f"{_current}{_user_lines()}" if compares_lines() else _current


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Give what happens in this block a name, unless it has one already: the outermost call is the one that the user knows.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> with calling("mse"), calling("all_sum"):
    ...     current_call()
    'mse'
    """
    global _current
    if _current:
        yield
        return
    _current = name
    try:
        yield
    finally:
        _current = ""


@contextmanager
def resumed(name: str) -> Iterator[None]:
    """Give what happens in this block this name, whatever is under way.

    Communication
    -------------
    Local.
    """
    global _current
    before, _current = _current, name
    try:
        yield
    finally:
        _current = before


def call_as(name: str, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call a function under a name, as within `calling`, which costs a few times more.

    Communication
    -------------
    That of the function.
    """
    global _current
    if _current:
        return function(*args, **kwargs)
    _current = name
    try:
        return function(*args, **kwargs)
    finally:
        _current = ""


def named_call(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function that communicates: its name is that of the call. What makes or calls an object bears the name of its class.

    Communication
    -------------
    Local.
    """
    name = function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")

    @wraps(function)
    def named(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return call_as(name, function, *args, **kwargs)

    return named


def number_of(key: object) -> int:
    """A number of 62 bits for anything that has a ``repr``, the same in every process.

    Communication
    -------------
    Local.
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 2


def call_number(call: str) -> int:
    """`number_of` a call, remembered; 0 outside of all.

    Communication
    -------------
    Local.
    """
    number = _numbers.get(call)
    if number is None:
        _numbers[call] = number = number_of(call)
    return number


def call_of(number: int) -> str:
    """The call of that number, if this rank has ever made it.

    Communication
    -------------
    Local.
    """
    return next((call for call, known in _numbers.items() if known == number), "another call")


def user_line() -> str:
    """Where the caller's own code has called hpcml, as `` (file:line)``; empty where no frame is the caller's.

    Communication
    -------------
    Local.
    """
    frame = next(user_frames(sys._getframe(1)), None)
    return f" ({line_of(frame)})" if frame is not None else ""


def line_of(frame: FrameType) -> str:
    """``file:line``.

    Communication
    -------------
    Local.
    """
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _user_lines() -> str:
    """Every line of the caller's code that leads here, innermost first; by file names only, since folders may differ from node to node."""
    lines = [f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" for frame in user_frames(sys._getframe(1))]
    return f" at {' from '.join(lines)}" if lines else ""


def user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Of a frame and those that have called it, innermost first, the ones of the caller's own code.

    Communication
    -------------
    Local.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((PACKAGE, "<")) and not any(part in name for part in LIBRARIES) and Path(name).stem != "hpcml":
            yield frame
        frame = frame.f_back
