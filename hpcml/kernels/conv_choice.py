"""Where a convolution of few channels runs: by the kernel or by torch, as was measured on this processor."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor
from torch.nn import functional

from hpcml.core.errors import ConfigError
from hpcml.kernels.backend import choose_backend
from hpcml.kernels.conv import CONVOLVE, convolve, weight_gradient
from hpcml.kernels.ways import agreed_way, measured_way
from hpcml.mpi.threads import one_torch_thread

NAME, MEASURED = "convolution", "convolution-blocks"
"""Of the decision in a run's record, and of the measurement in the cache: another where its content has another form."""
CHANNELS = (1, 4, 8, 16, 32, 64)
"""Input and output channels that are measured, with taps of 3 in each dim."""
BLOCKS = ((16, 32), (32, 64), (64, 64))
"""Cells that are measured in two dims: halves of fields. With fewer than these all wait for Python."""
BLOCK_3D = (8, 16, 16)
GAIN = 0.9
"""A way other than torch's is taken only if it needs less of its time than this, so that where both are alike nothing hangs on noise."""
MANY = 16
"""Channels from which on a way that does not gain is not tried with more."""
ROUNDS, SECONDS = (3, 24), 0.02
"""Fewest and most turns of every way, whose best time counts, and seconds after which the fewest are enough."""

Way = Callable[[], object]
Ratios = dict[str, dict[str, dict[str, dict[str, float]]]]
"""By way, dtype, cells of a block and channels."""
Range = tuple[int, int]
NONE = (1, 0)
_WAYS = ("forward", "backward", "flipped", "flipped_3d")


@dataclass(frozen=True)
class ConvChoice:
    """Fewest and most channels for which another way than torch's is taken, by dtype; torch's everywhere if nothing is given.

    Attributes
    ----------
    forward, backward : mapping of str to (int, int)
        The kernel instead of torch's convolution, and of its gradients of input, weight and bias.
    flipped : mapping of str to (int, int)
        Torch's forward convolution with the flipped weight instead of its gradient of the input, where the kernel does not serve.
    """

    forward: Mapping[str, Range]
    backward: Mapping[str, Range]
    flipped: Mapping[str, Range]

    def takes(self, way: str, weight: Tensor) -> bool:
        """Whether a way is taken for a weight of this shape and dtype."""
        fewest, most = getattr(self, way).get(str(weight.dtype).removeprefix("torch."), NONE)
        outputs, inputs = weight.shape[:2]
        return fewest <= min(outputs, inputs) and max(outputs, inputs) <= most and weight.device.type == "cpu"


TORCH = ConvChoice({}, {}, {})


def conv_choice(comm: MPI.Intracomm, shape: Sequence[int]) -> ConvChoice:
    """Choice for a convolution of a field of this global shape on these ranks.

    It is what was measured on half of such a field, or on the largest block that was measured, whatever the number of ranks: who goes on
    with a run on more of them takes the same ways.

    Raises
    ------
    ConfigError
        On every rank, for a record of a run that was not written by hpcml.

    Communication
    -------------
    Collective over comm: one broadcast. The first time on a processor one process of each node measures for about two seconds.
    """
    way = agreed_way(NAME, lambda: chosen(measured_way(MEASURED, "conv", measure), torch.get_num_threads()), comm)
    try:
        return _resolved(way["channels"], shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"the way of {NAME} that this run recorded in ways.json means nothing: {way!r}; remove the file") from error


def _resolved(channels: dict[str, Any], shape: Sequence[int]) -> ConvChoice:
    tables = {way: {dtype: _range(by_cells, math.prod(shape) // 2) for dtype, by_cells in channels[way].items()} for way in _WAYS}
    if len(shape) == 2:
        return ConvChoice(tables["forward"], tables["backward"], tables["flipped"])
    return ConvChoice({}, {}, tables["flipped_3d"]) if len(shape) == 3 else TORCH


def _range(by_cells: Mapping[str, Any], cells: int) -> Range:
    """Channels on the largest block that was measured and is no larger than this one."""
    measured = {int(size): (int(fewest), int(most)) for size, (fewest, most) in by_cells.items()}
    return measured[max(fitting)] if (fitting := [size for size in measured if size <= cells]) else NONE


def chosen(measured: Ratios, threads: int) -> dict[str, Any]:
    """What follows from a measurement, ready for JSON; of several threads torch is taken to make full use, and the kernel none.

    Examples
    --------
    >>> chosen({"forward": {"float32": {"512": {"1": 1.5, "4": 0.4, "8": 0.8, "16": 1.1}}}}, 1)["channels"]
    {'forward': {'float32': {'512': (4, 8)}}}
    """
    ranges = {
        way: {dtype: {cells: _gaining(found, threads) for cells, found in by_cells.items()} for dtype, by_cells in of.items()}
        for way, of in measured.items()
    }
    return {"channels": ranges, "time_over_torch": measured, "threads_of_torch": threads}


def _gaining(found: Mapping[str, float], threads: int) -> Range:
    """The longest run of channels in all of which the way gains."""
    runs = [NONE]
    run: list[int] = []
    for channels, ratio in found.items():
        run = [*run, int(channels)] if ratio * threads <= GAIN else []
        runs += [(run[0], run[-1])] if run else []
    return max(runs, key=lambda ends: ends[1] / ends[0])


@torch.no_grad()
def measure() -> Ratios:
    """Time of every way over torch's on one thread.

    Communication
    -------------
    Local.
    """
    ratios: Ratios = {way: {} for way in _WAYS}
    with one_torch_thread():
        for dtype in (torch.float32, torch.float64):
            for cells in (*BLOCKS, BLOCK_3D):
                _measure_block(ratios, cells, dtype)
    return ratios


def _measure_block(ratios: Ratios, cells: Sequence[int], dtype: torch.dtype) -> None:
    compiled = choose_backend(CONVOLVE.source, "cpu") == "host"
    racing = {"flipped_3d"} if len(cells) == 3 else {"forward", "backward", "flipped"} if compiled else {"flipped"}
    for channels in CHANNELS:
        for way, ratio in _ratios(channels, cells, dtype, racing).items():
            by_cells = ratios[way].setdefault(str(dtype).removeprefix("torch."), {})
            by_cells.setdefault(str(math.prod(cells)), {})[str(channels)] = round(ratio, 3)
            if ratio > GAIN and channels >= MANY:
                racing.remove(way)


def _ratios(channels: int, cells: Sequence[int], dtype: torch.dtype, racing: set[str]) -> dict[str, float]:
    dims = len(cells)
    ones, generator = [1] * dims, torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1, channels, *cells, dtype=dtype, generator=generator)
    w = torch.randn(channels, channels, *[3] * dims, dtype=dtype, generator=generator)
    plain: Callable[..., Tensor] = functional.conv3d if dims == 3 else functional.conv2d

    def gradients(*wanted: bool) -> None:
        torch.ops.aten.convolution_backward(y, x, w, [channels], ones, ones, ones, False, [0] * dims, 1, wanted)

    def by_kernel() -> None:
        convolve(y, w, None, (1, 1), adjoint=True)
        weight_gradient(y, x, (3, 3), (1, 1))

    def in_two() -> None:
        plain(y, w.transpose(0, 1).flip(tuple(range(2, 2 + dims))), padding=1)
        gradients(False, True, True)

    def together() -> None:
        gradients(True, True, True)

    races: dict[str, tuple[Way, list[Way]]] = {
        "forward": (lambda: convolve(x, w, None, (1, 1)), [lambda: plain(x, w, padding=1)]),
        "backward": (by_kernel, [together, in_two]),
        "flipped": (in_two, [together]),
        "flipped_3d": (in_two, [together]),
    }
    return {way: _race(*races[way]) for way in sorted(racing)}


def _race(way: Way, others: list[Way]) -> float:
    """Best time of a way over that of the best of the others, which take turns with it."""
    ways = [way, *others]
    best = [float("inf")] * len(ways)
    begin = time.perf_counter()
    for turn in range(1 + ROUNDS[1]):
        for k, work in enumerate(ways):
            start = time.perf_counter()
            work()
            if turn:  # the first prepares what is kept for the later ones
                best[k] = min(best[k], time.perf_counter() - start)
        if turn >= ROUNDS[0] and time.perf_counter() - begin > SECONDS:
            break
    return best[0] / min(best[1:])
