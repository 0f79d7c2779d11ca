"""What was measured on this machine: the time of a message by back end and size."""

import json
import socket
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import inf, log2
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.cache_folder import cache_folder
from hpcml.core.json_text import parse_json
from hpcml.core.trusted import read_trusted, write_trusted

Curve = tuple[tuple[int, float], ...]
"""Bytes and seconds, by bytes."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Times of one message each way between two ranks of a node.

    Attributes
    ----------
    curves : dict of str to dict of str to tuple of (int, float)
        By device (``cpu``, ``cuda``) and back end: bytes and seconds.
    """

    curves: dict[str, dict[str, Curve]] = field(default_factory=dict)

    def best(self, device: str, nbytes: int, possible: tuple[str, ...]) -> str:
        """The quickest of the possible back ends for so many bytes; the first of them where nothing was measured."""
        known = self.curves.get(device, {})
        timed = [name for name in possible if name in known]
        return min(timed, key=lambda name: seconds(known[name], nbytes)) if timed else possible[0]

    def save(self, path: Path) -> None:
        """Write the file that `tuned` reads."""
        write_trusted(path, json.dumps(asdict(self)).encode())


def seconds(curve: Curve, nbytes: int) -> float:
    """Time for so many bytes, interpolated between measured sizes on logarithmic axes and prolonged beyond them.

    Examples
    --------
    >>> round(seconds(((1024, 1e-6), (4096, 4e-6)), 2048), 9)
    2e-06
    """
    points = [(log2(max(size, 1)), log2(time)) for size, time in curve]
    x = log2(max(nbytes, 1))
    above = next((i for i in range(1, len(points)) if points[i][0] >= x), len(points) - 1)
    if above < 1:
        return curve[0][1]
    (x0, y0), (x1, y1) = points[above - 1], points[above]
    return float(2 ** (y0 + (y1 - y0) * (max(x, points[0][0]) - x0) / (x1 - x0)))


def tuned_path() -> Path:
    """File of this machine and MPI library in the user's cache folder."""
    name, version = MPI.get_vendor()
    return cache_folder("halo") / f"{socket.gethostname()}-{name.replace(' ', '')}-{'.'.join(map(str, version))}.json"


@lru_cache
def tuned() -> Tuned:
    """What ``hpcml tune`` found on this machine, read once; nothing where it never ran.

    Communication
    -------------
    Local.
    """
    try:
        curves = parse_json(read_trusted(tuned_path()))["curves"]
        return Tuned({device: {name: _curve(points) for name, points in by.items()} for device, by in curves.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or not as this version writes it
        return Tuned()


def _curve(points: list[Any]) -> Curve:
    curve = tuple((int(nbytes), float(time)) for nbytes, time in points)
    if not curve or not all(nbytes > 0 and 0 < time < inf for nbytes, time in curve):
        raise ValueError(f"a curve has sizes and times above 0, got {curve}")
    return curve
