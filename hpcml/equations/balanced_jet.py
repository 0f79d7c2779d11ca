"""A jet around the globe at middle latitudes, and the depth of the water that its pressure balances."""

import math
from functools import lru_cache

import numpy as np

HALF_WIDTH = 3 * math.pi / 28
"""Of the jet, from its middle to where it ends."""
_LATITUDES = np.linspace(-math.pi / 2, math.pi / 2, 20001)


@lru_cache(maxsize=64)
def balanced_jet(speed: float, latitude: float, radius: float, rotation: float, gravity: float, depth: float) -> np.ndarray:
    """Depth of the water, float64, at 20001 latitudes from pole to pole, evenly.

        g h_theta = -u (2 Omega radius sin theta + u tan theta)

    Parameters
    ----------
    speed : float
        In the middle of the jet.
    latitude : float
        Of its middle, radians, at least `HALF_WIDTH` from the poles.
    radius, rotation, gravity : float
        Of the planet.
    depth : float
        Mean over the sphere.

    Communication
    -------------
    Local.

    References
    ----------
    J. Galewsky, R. K. Scott and L. M. Polvani, Tellus A 56, 429 (2004).
    """
    u = jet(_LATITUDES, speed, latitude)
    slope = -u * (2 * rotation * radius * np.sin(_LATITUDES) + u * np.tan(_LATITUDES)) / gravity
    step = _LATITUDES[1] - _LATITUDES[0]
    shape = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2) * step])
    mean = (shape * np.cos(_LATITUDES)).sum() / np.cos(_LATITUDES).sum()
    return np.asarray(depth + shape - mean)


def at_latitudes(profile: np.ndarray, latitudes: np.ndarray) -> np.ndarray:
    """Values of a profile of `balanced_jet` anywhere."""
    return np.interp(latitudes, _LATITUDES, profile)


def jet(latitudes: np.ndarray, speed: float, latitude: float) -> np.ndarray:
    """Speed eastwards at latitudes, smooth, and none beyond `HALF_WIDTH` from the middle."""
    away = np.minimum(((latitudes - latitude) / HALF_WIDTH) ** 2, 1 - 1e-9)
    return np.asarray(speed * np.exp((1 - 1 / (1 - away)) / HALF_WIDTH**2))
