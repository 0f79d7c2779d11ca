"""What the kernels gain on the CPU: each against NumPy or torch, on one thread and in one run."""

from typing import Any

from hpcml.kernels.bench import compare_kernels
from hpcml.mpi.world import World


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare every kernel with its rivals.

    Returns
    -------
    rows, figures
        A row per rival, with medians of the times; the figures are the ratios, rival over kernel, by the name of the comparison.

    Communication
    -------------
    Local.
    """
    comparisons = compare_kernels()
    rows = [
        {"comparison": c.name, "kernel_us": 1e6 * c.kernel_s, "other_us": 1e6 * c.other_s, "ratio": c.ratio, "case": c.case}
        for c in comparisons
    ]
    return rows, {c.name: c.ratio for c in comparisons}
