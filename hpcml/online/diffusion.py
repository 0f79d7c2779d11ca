"""A small diffusion model of points in a cube, given a number for each."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hpcml.mpi.seeds import normal, uniform

_WIDTH, _LEVELS, _FREQUENCIES = 64, 32, 4
_LEARNING_RATE = 2e-3


class Diffusion:
    """Learns which points go with which number, and draws points for a number.

        noise level t    x_t = sqrt(a_t) x + sqrt(1 - a_t) normal,   a_t = cos^2(pi/2 (t/T + s)/(1 + s)) / the same at t = 0
        network          x from x_t, t and the number
        drawing          from normal numbers at t = T down to 0, each from the one above by the posterior given the network's x

    The network gives x, which lies in the cube, rather than the noise; so what is drawn lies in the cube too.

    Parameters
    ----------
    dims : int
        Of the cube.
    seed : int
        Of the run.

    References
    ----------
    J. Ho, A. Jain, P. Abbeel, Denoising diffusion probabilistic models, NeurIPS 2020; the cosine of A. Nichol, P. Dhariwal, Improved
    denoising diffusion probabilistic models, ICML 2021.

    Examples
    --------
    >>> Diffusion(2, 0).draw(np.zeros(5), ("example",)).shape
    (5, 2)
    """

    def __init__(self, dims: int, seed: int) -> None:
        self._dims, self._seed = dims, seed
        sizes = [dims + 1 + 2 * _FREQUENCIES, _WIDTH, _WIDTH, _WIDTH, dims]
        layers = [nn.Linear(n, m) for n, m in itertools.pairwise(sizes)]
        for number, layer in enumerate(layers):
            index = torch.arange(layer.weight.numel()).view_as(layer.weight)
            with torch.no_grad():
                layer.weight.copy_(normal(seed, ("diffusion", "weight", number), index) / layer.in_features**0.5)
                layer.bias.zero_()
        self._network = nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.SiLU())), layers[-1], nn.Tanh())
        t = torch.arange(_LEVELS + 1, dtype=torch.float64) / _LEVELS
        kept = torch.cos(0.5 * math.pi * (t + 0.008) / 1.008) ** 2
        self._kept = (kept / kept[0]).clamp(min=1e-4).float()

    def fit(
        self, points: np.ndarray, numbers: np.ndarray, weights: np.ndarray, steps: int, batch: int, stream: tuple[str | int, ...]
    ) -> None:
        """Go on learning, for some steps of Adam.

        Parameters
        ----------
        points : numpy.ndarray, (point, dim)
            In the unit cube.
        numbers, weights : numpy.ndarray, (point,)
            What goes with each, and how often it is drawn.
        steps, batch : int
            Of points drawn.
        stream : tuple
            For random numbers: another one each time.
        """
        x, conditions = 2 * torch.from_numpy(points).float() - 1, torch.from_numpy(numbers).float()
        optimiser = torch.optim.Adam(self._network.parameters(), _LEARNING_RATE)
        index = torch.arange(steps * batch).view(steps, batch)
        rolls = uniform(self._seed, (*stream, "points"), index, torch.float64).numpy()
        chosen = torch.from_numpy(np.searchsorted(np.cumsum(weights) / weights.sum(), rolls, side="right").clip(max=len(points) - 1))
        levels = 1 + (_LEVELS * uniform(self._seed, (*stream, "levels"), index)).long()
        noise = normal(self._seed, (*stream, "noise"), index[..., None] * self._dims + torch.arange(self._dims))
        for which, level, added in zip(chosen, levels, noise, strict=True):
            kept = self._kept[level][:, None]
            found = self._clean(kept.sqrt() * x[which] + (1 - kept).sqrt() * added, level, conditions[which])
            optimiser.zero_grad()
            (found - x[which]).square().mean().backward()
            optimiser.step()

    @torch.no_grad()
    def draw(self, numbers: np.ndarray, stream: tuple[str | int, ...]) -> np.ndarray:
        """Points for some numbers, float64, (number, dim), in the unit cube."""
        conditions = torch.from_numpy(numbers).float()
        cells = torch.arange(len(numbers) * self._dims).view(len(numbers), self._dims)
        x = normal(self._seed, (*stream, _LEVELS), cells)
        for t in range(_LEVELS, 0, -1):
            above, below = self._kept[t], self._kept[t - 1]
            ratio = above / below
            clean = self._clean(x, torch.full((len(numbers),), t), conditions)
            x = (below.sqrt() * (1 - ratio) * clean + ratio.sqrt() * (1 - below) * x) / (1 - above)
            if t > 1:
                x += ((1 - ratio) * (1 - below) / (1 - above)).sqrt() * normal(self._seed, (*stream, t - 1), cells)
        return (0.5 + 0.5 * x.double()).clamp(0, 1).numpy()

    def state(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"network": torch.cat([p.detach().flatten() for p in self._network.parameters()]).numpy()}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        nn.utils.vector_to_parameters(torch.from_numpy(np.array(state["network"])), self._network.parameters())

    def _clean(self, x: Tensor, level: Tensor, conditions: Tensor) -> Tensor:
        angles = math.pi * (level / _LEVELS)[:, None] * 2.0 ** torch.arange(_FREQUENCIES)
        found: Tensor = self._network(torch.cat([x, conditions[:, None], angles.sin(), angles.cos()], 1))
        return found
