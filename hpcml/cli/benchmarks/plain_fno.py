"""A Fourier neural operator of torch alone, on one device: what `hpcml.models.FNO` is compared with where there is no other."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainFNO(nn.Module):
    """Two dims, the layers of `hpcml.models.FNO` without norms, written as in the papers: one product for each corner of the spectrum.

    Parameters
    ----------
    channels, modes, layers : int
        As there; one channel goes in and one comes out.

    Communication
    -------------
    None.

    References
    ----------
    Z. Li et al., arXiv:2010.08895; J. Kossaifi et al., arXiv:2310.00120.
    """

    def __init__(self, channels: int, modes: int, layers: int) -> None:
        super().__init__()
        self.lift, self.project = _mlp(1, 2 * channels, channels), _mlp(channels, 2 * channels, 1)
        self.blocks = nn.ModuleList(_Block(channels, modes) for _ in range(layers))

    def forward(self, u: Tensor) -> Tensor:
        """Output (batch, 1, n, m) for u of (batch, 1, n, m)."""
        v = self.lift(u)
        for block in self.blocks[:-1]:
            v = F.gelu(block(v))
        return self.project(self.blocks[-1](v))


class _Block(nn.Module):
    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        weights = 0.1 / channels**0.5 * torch.randn(2, channels, channels, modes, modes, dtype=torch.complex64)
        self.corners = nn.ParameterList(nn.Parameter(weight) for weight in weights)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.skip = nn.Conv2d(channels, channels, 1)
        self.mlp = _mlp(channels, max(1, channels // 2), channels)
        self.gate = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, v: Tensor) -> Tensor:
        inner = F.gelu(self._spectral(v) + self.skip(v))
        return self.mlp(inner) + self.gate * v

    def _spectral(self, v: Tensor) -> Tensor:
        modes = self.corners[0].shape[-1]
        kept = torch.fft.rfft2(v, norm="forward")
        out = torch.zeros_like(kept)
        for rows, weight in zip((slice(0, modes), slice(-modes, None)), self.corners, strict=True):
            out[:, :, rows, :modes] = torch.einsum("bixy,ioxy->boxy", kept[:, :, rows, :modes], weight)
        return torch.fft.irfft2(out, s=v.shape[-2:], norm="forward") + self.bias


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.GELU(), nn.Conv2d(hidden, outputs, 1))
