"""Noise on what a model starts from, so that it learns to bear errors such as its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.models.surrogate import Surrogate
from hpcml.mpi.seeds import normal
from hpcml.parallel.space import Space


class Noise:
    """Gaussian noise on inputs, the same on any number of ranks and after any restart.

        x' = x + a sigma n        y' = y + b a sigma n        n_i = normal(seed, (update, sample), channel and point i)

    Parameters
    ----------
    deviation : float or sequence of float
        a, in deviations of the training data, by which a `hpcml.models.surrogate.Surrogate` normalises its input; in the unit of the input
        for another model. One number is that of every input channel that has a target, the first ones; those after them are given, and get
        none. Several are those of the first channels of the input, one by one.
    in_targets : float
        b: 0 where the target stays, so that the model is to take the noise away; 1 where it moves along, so that the change that the model
        is to predict stays.
    seed : int
        Of the noise.

    Raises
    ------
    ConfigError
        In a call, for more deviations than channels of the input, or targets that cannot move along.

    Communication
    -------------
    Local.

    Notes
    -----
    Good values: as large as the error of a step after some steps of the model's own, 0.003 to 0.1. Numbers do not depend on the dtype of
    fields, but for its rounding.

    References
    ----------
    A. Sanchez-Gonzalez and others, International Conference on Machine Learning 2020, arXiv:2002.09405: noise as a random walk over the
    times of an input, here over its one time, targets that move along. T. Pfaff and others, International Conference on Learning
    Representations 2021, arXiv:2010.03409: targets that stay, or move along in part.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain, u = decompose(Grid((4,)), MPI.COMM_SELF), torch.zeros(2, 1, 4)
    >>> x, y = Noise(0.1)(domain, nn.Identity(), u, u, 0, [5, 8])
    >>> bool((x != 0).all()), bool((y == 0).all()), bool((x[0] != x[1]).all())
    (True, True, True)
    """

    def __init__(self, deviation: float | Sequence[float], in_targets: float = 0.0, seed: int = 0) -> None:
        self._deviation, self._in_targets, self._seed = deviation, in_targets, seed

    def __call__(self, space: Space, model: nn.Module, x: Tensor, y: Tensor, update: int, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs and targets, of one step or several, with the noise of an update for samples of these numbers."""
        first = space.channels_first(x)
        later = y if y.dim() > x.dim() else y.unsqueeze(1)
        targets = later.shape[2 if space.channel_dim == 1 else -1]
        deviation = self._of_channels(first.shape[1], targets)
        std = model.input_std.double()[: len(deviation)] if isinstance(model, Surrogate) else 1.0
        sigma = (std * torch.tensor(deviation, dtype=torch.float64, device=x.device)).view(-1, *(1,) * space.num_dims)
        channel = torch.arange(len(deviation), device=x.device).view(sigma.shape)
        index = channel * space.num_points_global + space.point_index
        noise = [normal(self._seed, ("noise", update, number), index, torch.float64).mul_(sigma) for number in numbers]
        added = space.as_field(torch.stack(noise).to(x.dtype), x)
        x = self._added(space, x, added)
        if not self._in_targets:
            return x, y
        if len(deviation) > targets:
            raise ConfigError("training.noise_in_targets moves targets with the noise of their own channels, and there is noise in others")
        moved = self._added(space, later, self._in_targets * added.unsqueeze(1))
        return x, moved if y.dim() > x.dim() else moved[:, 0]

    def _of_channels(self, channels: int, targets: int) -> list[float]:
        """Deviation of the first channels of the input."""
        if isinstance(self._deviation, int | float):
            return [self._deviation] * min(channels, targets)
        if len(self._deviation) > channels:
            raise ConfigError(f"training.noise has a deviation for {len(self._deviation)} channels, and an input has {channels}")
        return list(self._deviation)

    @staticmethod
    def _added(space: Space, field: Tensor, added: Tensor) -> Tensor:
        """A field, with or without a dim of steps, and on its first channels what is added."""
        dim = field.dim() - 1 if space.channel_dim == -1 else field.dim() - 1 - space.num_dims
        count, noisy = added.shape[dim], field.clone()
        noisy.narrow(dim, 0, count).add_(added)
        return noisy
