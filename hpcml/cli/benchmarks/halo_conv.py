"""What sharing a field costs a convolution.

A field of S x S cells and 8 channels lies in two halves on two ranks. One step is a 3x3 convolution to 8 channels in float32, forward and
backward, with the gradients of input, weight and bias and their sum over ranks, on one thread. Three things are timed by turns:

    torch    torch's layer on the half field alone, zero padded
    alone    ours on the half field as one window, without a peer: the same arithmetic, and no message
    shared   ours on the whole field

Every sample is the time per step of a few steps between two barriers; each rank takes the 20th percentile of its samples, which other work
on the machine disturbs least, and the slower rank counts.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.fields import Domain, Grid, decompose
from hpcml.models.layers.conv import Conv2d
from hpcml.models.layers.convolution import Convolution
from hpcml.models.layers.reach import Stencil, window_plan
from hpcml.models.layers.windowed_convolution import windowed_convolution
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World

CHANNELS = 8
STEPS = {64: (300, 5), 256: (60, 2), 512: (40, 1)}
"""Samples, and steps in each, by S: about a second of each."""


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure all sizes.

    Returns
    -------
    rows, figures
        ``ratio_S`` is shared over torch, ``message_ratio_S`` shared over alone.

    Communication
    -------------
    Collective over world.
    """
    with one_torch_thread():
        rows = [_measure(world.comm, size, *how) for size, how in STEPS.items()]
    ratios = {f"ratio_{row['size']}": row["ratio"] for row in rows}
    return rows, ratios | {f"message_ratio_{row['size']}": row["message_ratio"] for row in rows}


def _measure(comm: MPI.Intracomm, size: int, samples: int, steps: int) -> dict[str, Any]:
    with decompose(Grid((size, size)), comm, dims=(comm.size, 1)) as shared:
        half = decompose(Grid(shared.local_shape), MPI.COMM_SELF)
        layer = Conv2d(shared, CHANNELS, CHANNELS, 3, padding=1)
        runs: dict[str, Any] = {"torch": nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), "alone": _alone(half, layer), "shared": layer}
        x = torch.randn(1, CHANNELS, *shared.local_shape, requires_grad=True)
        cotangent = torch.randn(1, CHANNELS, *shared.local_shape)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for sample in range(samples + 3):
            for name, convolve in runs.items():
                parameters = list(runs["torch"].parameters() if name == "torch" else layer.parameters())
                seconds = _seconds_per_step(comm, steps, convolve, x, parameters, cotangent)
                if sample >= 3:  # buffers, requests and torch's kernels are made at first use
                    times[name].append(seconds)
        half.close()
    best = {name: float(np.quantile(values, 0.2)) for name, values in times.items()}
    worst = {name: comm.allreduce(value, MPI.MAX) for name, value in best.items()}
    return {
        "size": size,
        **{f"{name}_us": 1e6 * value for name, value in worst.items()},
        "ratio": worst["shared"] / worst["torch"],
        "message_ratio": worst["shared"] / worst["alone"],
    }


def _alone(half: Domain, layer: Conv2d) -> Callable[[Tensor], Tensor]:
    """The layer's arithmetic on one rank's half, padded in the first dim by a window, as where a field is shared."""
    convolution = Convolution((3, 3), (1, 1), (0, 1), (1, 1), 1, choice=layer._convolution.choice)
    plan = window_plan(half, half, (Stencil(3, before=1), Stencil(1)), ("zero", "zero"))
    return lambda x: windowed_convolution(plan, MPI.COMM_SELF, convolution, x, layer.weight, layer.bias)


def _seconds_per_step(
    comm: MPI.Intracomm, steps: int, convolve: Callable[[Tensor], Tensor], x: Tensor, parameters: list[nn.Parameter], cotangent: Tensor
) -> float:
    comm.Barrier()
    start = time.perf_counter()
    for _ in range(steps):
        torch.autograd.grad(convolve(x), [x, *parameters], cotangent)
    return (time.perf_counter() - start) / steps
