"""Latency and bandwidth by message size, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpcml.core.optional_module import optional_module
from hpcml.core.save_figure import save_figure


def size_plot(curves: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Draw time and bandwidth over size.

    Parameters
    ----------
    curves : mapping of str to sequence of (int, float)
        By name: bytes and seconds; of several times for one size the geometric mean is drawn.
    path : Path
        File to write; its suffix says in which format.

    Raises
    ------
    ConfigError
        Where matplotlib is not installed, or cannot write such a file.
    """
    drawing = optional_module("matplotlib.figure", "pictures need the package matplotlib", "'hpcml[viz]'")
    figure = drawing.Figure(figsize=(9, 4), layout="constrained")
    latency, bandwidth = figure.subplots(1, 2)
    for name, points in curves.items():
        sizes = np.array(sorted({size for size, _ in points}))
        times = np.array([np.exp(np.mean([np.log(t) for s, t in points if s == size])) for size in sizes])
        latency.loglog(sizes, 1e6 * times, marker="o", markersize=3, label=name)
        bandwidth.loglog(sizes, sizes / times / 1e9, marker="o", markersize=3, label=name)
    latency.set(xlabel="bytes", ylabel="time in us")
    bandwidth.set(xlabel="bytes", ylabel="bandwidth in GB/s")
    latency.legend(frameon=False)
    save_figure(figure, path)
