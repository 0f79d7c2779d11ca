"""A network between the units of the data and its own."""

import math

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.layers.autocast import autocast
from hpcml.models.spaces import spaces_of
from hpcml.parallel.space import Space


class Surrogate(nn.Module):
    """Normalise the input, apply a network, bring its output to the units of the target.

        y = sigma_y network((x - mu_x) / sigma_x) + mu_y        (+ x, if the network predicts the change)

    Parameters
    ----------
    network : Module
        Maps fields of in_channels to fields of out_channels, (batch, channel, *local) on a grid; built with its space.
    in_channels, out_channels : int
        Channels of fields.
    residual : bool
        Whether the network predicts the change of the state, the first out_channels of its input; the target's mean and deviation are then
        those of the change.
    precision : torch.dtype, optional
        ``torch.bfloat16`` or ``torch.float16``: the network runs under torch's autocast, in training and afterwards. Normalisation and the
        output are in the precision of the parameters all the same.

    space : Space, optional
        Where its fields live; default the first that the network holds.

    Attributes
    ----------
    input_mean, input_std, target_mean, target_std : Tensor
        Buffers of one number per channel: they belong to the state dict and do not depend on resolution or ranks. Set by `fit_to`.

    Communication
    -------------
    That of the network.
    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        in_channels: int,
        out_channels: int,
        residual: bool = False,
        precision: torch.dtype | None = None,
        space: Space | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.residual, self.precision = residual, precision
        self.space = space or next(iter(spaces_of(network)), None)
        self._channel_dim = 1 if self.space is None else self.space.channel_dim
        if residual and in_channels > out_channels:  # a checkpoint without it is of a model that did not predict the change
            self.register_buffer("given_channels", torch.tensor(in_channels - out_channels))
        for name, channels in (("input", in_channels), ("target", out_channels)):
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_std", torch.ones(channels))

    @property
    def domain(self) -> Domain:
        """Where the fields of a network on a grid live."""
        if not isinstance(self.space, Domain):
            raise ConfigError("this model has no grid: its fields live on what its attribute space says")
        return self.space

    def fit_to(self, input_moments: tuple[Tensor, Tensor], target_moments: tuple[Tensor, Tensor]) -> None:
        """Take over mean and standard deviation of inputs and targets, each of shape (channels,).

        Raises
        ------
        ConfigError
            For those that fields cannot be divided by.
        """
        places = getattr(self.network, "unscaled_channels", 0)  # the first of the input: lengths in the unit of the network's own
        _check_moments("inputs", *input_moments, self.input_std.dtype, places)
        _check_moments("targets", *target_moments, self.target_std.dtype)
        for name, (mean, std) in (("input", input_moments), ("target", target_moments)):
            getattr(self, f"{name}_mean").copy_(mean)
            # A channel that never changes stays as it is: dividing by its deviation would only magnify round-off.
            getattr(self, f"{name}_std").copy_(torch.where(_varies(mean, std), std, torch.ones_like(std)))
        self.input_mean[:places], self.input_std[:places] = 0.0, 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Prediction, a field of out_channels, for x, a field of in_channels: (batch, channel, *local) on a grid."""
        with autocast(x.device, self.precision):
            y = self.network((x - self._column(self.input_mean, x)) / self._column(self.input_std, x))
        y = y * self._column(self.target_std, y) + self._column(self.target_mean, y)
        return self.state_in(x) + y if self.residual else y

    def state_in(self, x: Tensor) -> Tensor:
        """The channels of an input that the output has too, the first; what comes after them is given."""
        return x.narrow(self._channel_dim, 0, len(self.target_mean)) if x.shape[self._channel_dim] > len(self.target_mean) else x

    def _column(self, per_channel: Tensor, like: Tensor) -> Tensor:
        return per_channel if self._channel_dim == -1 else per_channel.view(-1, *(1,) * (like.dim() - 2))


def _varies(mean: Tensor, std: Tensor) -> Tensor:
    return std > 1e-12 * mean.abs()


def _check_moments(name: str, mean: Tensor, std: Tensor, dtype: torch.dtype, skipped: int = 0) -> None:
    """Refuse what is not finite, and deviations below the normal numbers, of which a quotient overflows or has no digits left."""
    if mean.is_meta:
        return
    tiny, kind = torch.finfo(dtype).tiny, f"{dtype}".removeprefix("torch.")
    varies = _varies(mean, std).tolist()
    for channel, (m, s) in enumerate(zip(mean.tolist(), std.tolist(), strict=True)):
        if channel < skipped:
            continue
        found = f"channel {channel} of the {name} has mean {m:g} and deviation {s:g}"
        if not (math.isfinite(m) and math.isfinite(s)):
            raise ConfigError(f"{found}: look for NaN in the data, and for numbers too large for {kind}, which another unit makes smaller")
        if varies[channel] and s < tiny:
            raise ConfigError(f"{found}, and {kind} loses digits below {tiny:.2g}: choose another unit, in which it is of order one")
