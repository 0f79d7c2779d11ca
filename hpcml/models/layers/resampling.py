"""Interpolation along one dim as taps: y[o] = sum_t w_t(o) x[i_t(o)], with the arithmetic of torch, rounding included."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.parallel.layout import Range


@dataclass(frozen=True, slots=True)
class Resampling:
    """Which inputs an output is made of, and how much of each; a `Reach`.

    Parameters
    ----------
    mode : str
        ``nearest``, ``nearest-exact``, ``linear``, ``cubic`` or ``area``.
    num_in, num_out : int
        Global cells before and after.
    scale : float, optional
        num_out / num_in as the user gave it; None: the quotient.
    align_corners : bool
        Whether the centres of the outermost cells coincide; else their outer faces do.
    single : bool
        Positions in float32, as torch has them for every dtype but float64.
    periodic : bool
        Whether inputs go on around the ends, so that indices reach outside; else the outermost ones are repeated.

    Notes
    -----
    The position of output o among the inputs is o s with aligned corners and (o + 1/2) s - 1/2 without, where s is the size of an output
    in inputs. The order of roundings was compared with torch's on some thousand pairs of sizes; it decides which cell is the nearest.
    """

    mode: str
    num_in: int
    num_out: int
    scale: float | None = None
    align_corners: bool = False
    single: bool = False
    periodic: bool = False

    def __call__(self, outputs: Range) -> Range:
        index, _ = self.taps(outputs)
        return int(index.min()), int(index.max()) + 1

    def taps(self, outputs: Range) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and weights of a run of outputs.

        Returns
        -------
        index, weight : ndarray
            (taps, outputs); int64 and float64.
        """
        o = np.arange(*outputs)
        if self.mode.startswith("nearest"):
            index = self._nearest(o)[None]
            return index, np.ones(index.shape)
        if self.mode == "area":
            return self._area(o)
        return self._linear(o) if self.mode == "linear" else self._cubic(o)

    def _nearest(self, o: np.ndarray) -> np.ndarray:
        real = np.float32 if self.single else np.float64
        position = (o + 0.5 * (self.mode == "nearest-exact")).astype(real) * self._size_of_an_output(real)
        return np.minimum(position.astype(np.float32).astype(np.int64), self.num_in - 1)

    def _linear(self, o: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.periodic:
            position = self._position(o)
            lower = np.floor(position).astype(np.int64)
            return np.stack([lower, lower + 1]), np.stack([1 - (position - lower), position - lower])
        position = np.maximum(self._position(o), 0) if self.num_in != self.num_out else o.astype(np.float64)
        lower = np.minimum(position.astype(np.int64), self.num_in - 1)
        upper = np.minimum(lower + 1, self.num_in - 1)
        t = np.clip(position - lower.astype(position.dtype), 0, 1).astype(np.float64)
        return np.stack([lower, upper]), np.stack([1 - t, t])

    def _cubic(self, o: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        position = self._position(o)
        lower = np.floor(position).astype(np.int64)
        lower = lower if self.periodic else np.minimum(lower, self.num_in - 1)
        t = np.clip(position - lower.astype(position.dtype), 0, 1).astype(np.float64)
        index = lower + np.arange(-1, 3)[:, None]
        index = index if self.periodic else np.clip(index, 0, self.num_in - 1)
        return index, np.stack([_far(1 + t), _near(t), _near(1 - t), _far(2 - t)])

    def _area(self, o: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start, stop = o * self.num_in // self.num_out, -(-(o + 1) * self.num_in // self.num_out)
        index = start + np.arange((stop - start).max())[:, None]
        return np.minimum(index, self.num_in - 1), (index < stop) / (stop - start)

    def _position(self, o: np.ndarray) -> np.ndarray:
        real = np.float32 if self.single else np.float64
        size = self._size_of_an_output(real)
        if self.align_corners:
            return o.astype(real) * size
        if self.single:  # one rounding, as a processor has it that multiplies and adds in one step
            return ((o + 0.5) * np.float64(size) - 0.5).astype(real)
        return (o + 0.5) * size - 0.5

    def _size_of_an_output(self, real: type[np.floating[Any]]) -> Any:
        if self.align_corners:
            return real(self.num_in - 1) / real(self.num_out - 1) if self.num_out > 1 else real(0)
        return real(self.num_in) / real(self.num_out) if self.scale is None else real(1 / self.scale)


CUBIC = -0.75
"""Slope of the cubic kernel at distance 1, torch's choice."""


def _near(t: np.ndarray) -> np.ndarray:
    """Cubic kernel at distance t <= 1."""
    return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1


def _far(t: np.ndarray) -> np.ndarray:
    """Cubic kernel at distance 1 <= t <= 2."""
    return ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC
