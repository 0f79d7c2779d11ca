"""Where a convolution of few channels runs: by the kernel or by torch, as was measured on this processor."""

import time
from collections.abc import Callable, Mapping
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

NAME = "convolution"
CHANNELS = (8, 16, 32, 64)
"""Input and output channels that are measured: 3x3 taps on 32 x 64 cells. With fewer than these both wait for Python."""
GAIN = 0.9
"""A way other than torch's is taken only if it needs less of its time than this, so that where both are alike nothing hangs on noise."""
ROUNDS, SECONDS = (3, 9), 0.02
"""Fewest and most turns of every way, whose best time counts, and seconds after which the fewest are enough."""

Way = Callable[[], object]
Ratios = dict[str, dict[str, dict[str, float]]]
"""By way, dtype and channels."""


@dataclass(frozen=True)
class ConvChoice:
    """Most channels for which another way than torch's is taken, by dtype; torch's everywhere if nothing is given.

    Attributes
    ----------
    forward, backward : mapping of str to int
        The kernel instead of torch's convolution, and of its gradients of input, weight and bias.
    flipped : mapping of str to int
        Torch's forward convolution with the flipped weight instead of its gradient of the input, where the kernel does not serve.
    """

    forward: Mapping[str, int]
    backward: Mapping[str, int]
    flipped: Mapping[str, int]

    def takes(self, way: str, weight: Tensor) -> bool:
        """Whether a way is taken for a weight of this shape and dtype."""
        most = getattr(self, way).get(str(weight.dtype).removeprefix("torch."), 0)
        channels = weight.shape[0] if way == "flipped" else max(weight.shape[:2])
        return channels <= most and weight.device.type == "cpu"


TORCH = ConvChoice({}, {}, {})


def conv_choice(comm: MPI.Intracomm) -> ConvChoice:
    """Choice for convolutions of a model on these ranks.

    Raises
    ------
    ConfigError
        On every rank, for a record of a run that was not written by hpcml.

    Communication
    -------------
    Collective over comm: one broadcast. The first time on a processor one process of each node measures for less than a second.
    """
    way = agreed_way(NAME, lambda: chosen(measured_way(NAME, "conv", measure), torch.get_num_threads()), comm)
    try:
        return ConvChoice(**{name: {dtype: int(most) for dtype, most in of.items()} for name, of in way["most_channels"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"the way of {NAME} that this run recorded in ways.json means nothing: {way!r}; remove the file") from error


def chosen(measured: Ratios, threads: int) -> dict[str, Any]:
    """What follows from a measurement, ready for JSON; of several threads torch is taken to make full use, and the kernel none.

    Examples
    --------
    >>> chosen({"forward": {"float32": {"8": 0.4, "16": 0.8}}}, 2)["most_channels"]
    {'forward': {'float32': 8}}
    """
    most = {
        way: {dtype: max((int(c) for c, ratio in found.items() if ratio * threads <= GAIN), default=0) for dtype, found in of.items()}
        for way, of in measured.items()
    }
    return {"most_channels": most, "time_over_torch": measured, "threads_of_torch": threads}


@torch.no_grad()
def measure() -> Ratios:
    """Time of every way over torch's on one thread, up to the channels from which on it does not gain.

    Communication
    -------------
    Local.
    """
    ratios: Ratios = {way: {} for way in ("forward", "backward", "flipped")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for dtype in (torch.float32, torch.float64):
            racing = set(ratios) if choose_backend(CONVOLVE.source, "cpu") == "host" else {"flipped"}
            for channels in CHANNELS:
                for way, ratio in _ratios(channels, dtype, racing).items():
                    ratios[way].setdefault(str(dtype).removeprefix("torch."), {})[str(channels)] = round(ratio, 3)
                    if ratio > GAIN:
                        racing.remove(way)
    finally:
        torch.set_num_threads(threads)
    return ratios


def _ratios(channels: int, dtype: torch.dtype, racing: set[str]) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1, channels, 32, 64, dtype=dtype, generator=generator)
    w = torch.randn(channels, channels, 3, 3, dtype=dtype, generator=generator)

    def gradients(*wanted: bool) -> None:
        torch.ops.aten.convolution_backward(y, x, w, [channels], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)

    def flipped() -> None:
        functional.conv2d(y, w.transpose(0, 1).flip((2, 3)), padding=1)

    def by_kernel() -> None:
        convolve(y, w, None, (1, 1), adjoint=True)
        weight_gradient(y, x, (3, 3), (1, 1))

    def in_two() -> None:
        flipped()
        gradients(False, True, True)

    races: dict[str, tuple[Way, list[Way]]] = {
        "forward": (lambda: convolve(x, w, None, (1, 1)), [lambda: functional.conv2d(x, w, padding=1)]),
        "backward": (by_kernel, [lambda: gradients(True, True, True), in_two]),
        "flipped": (flipped, [lambda: gradients(True, False, False)]),
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
