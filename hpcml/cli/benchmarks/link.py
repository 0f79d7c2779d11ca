"""Latency and bandwidth of messages between two ranks, by size and back end: what ``hpcml tune`` decides by.

One message each way at the same time, written before and copied out of its buffer after, see `hpcml.parallel.link.link_times`.
"""

from pathlib import Path
from typing import Any

import torch

from hpcml.cli.benchmarks.size_plot import size_plot
from hpcml.mpi.world import World
from hpcml.parallel.link import link_times


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure all sizes.

    Returns
    -------
    rows, figures
        ``latency_us_NAME`` of the smallest message, and ``bandwidth_NAME``, the best of any size each way, in GB/s.

    Communication
    -------------
    Collective over world.
    """
    curves = link_times(world.comm, torch.device("cpu"))
    if world.device.type == "cuda":
        curves |= {f"gpu-{name}": curve for name, curve in link_times(world.comm, world.device).items()}
    rows = [
        {"bytes": points[0][0], **{f"{name}_us": 1e6 * seconds for name, (_, seconds) in zip(curves, points, strict=True)}}
        for points in zip(*curves.values(), strict=True)
    ]
    figures: dict[str, Any] = {}
    for name, curve in curves.items():
        figures[f"latency_us_{name}"] = 1e6 * curve[0][1]
        figures[f"bandwidth_{name}"] = max(size / seconds for size, seconds in curve) / 1e9
    return rows, figures


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and bandwidth over the bytes of a message."""
    names = [key.removesuffix("_us") for key in rows[0] if key != "bytes"]
    size_plot({name: [(row["bytes"], 1e-6 * row[f"{name}_us"]) for row in rows] for name in names}, path)
