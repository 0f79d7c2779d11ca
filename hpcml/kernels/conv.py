"""Convolution of few channels in two dims with stride 1, and its derivatives.

The kernels are the faster where a matrix product over channels has little to work on; see `hpcml.kernels.conv_choice`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.backend import choose_backend
from hpcml.kernels.conv_twin import convolve_twin, weight_gradient_twin
from hpcml.kernels.kept_launch import run_kept
from hpcml.kernels.kernel import Kernel

CONVOLVE = Kernel("conv", "convolve", convolve_twin, strided=("out", "x"))
WEIGHT_GRADIENT = Kernel("conv", "weight_gradient", weight_gradient_twin, strided=("dy", "x"))
MOST_TAPS, MOST_CHANNELS = 7, 64
"""Taps in each dim, and input channels, that the kernels have room for."""


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether compiled kernels can do a convolution with stride and dilation 1; `conv_choice` says whether they are faster."""
    channels, taps = max(weight.shape[:2]), max(weight.shape[2:])
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or channels > MOST_CHANNELS or taps > MOST_TAPS:
        return False
    return x.numel() > 0 and choose_backend(CONVOLVE.source, "cpu") == "host"


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: Sequence[int] = (0, 0), adjoint: bool = False) -> Tensor:
    """Convolve an array, zero outside its cells.

        y[o, i] = bias[o] + sum_{c, k} w[o, c, k] x[c, i + k - padding]

    Parameters
    ----------
    x : Tensor of float32 or float64, (batch, in_channels, ny, nx)
        Up to 64 channels; copied if its rows are not contiguous.
    weight : Tensor of the same dtype, (out_channels, in_channels, ky, kx)
        Up to 7 taps in each dim.
    bias : Tensor, (out_channels,), optional
        Added.
    padding : (int, int)
        Cells of zeros that are seen on both sides of each dim.
    adjoint : bool
        Use w[c, o, k'] with the taps in reverse order, for a weight of shape (in_channels, out_channels, ky, kx): from the gradient of
        a convolution's output, with ``padding`` k - 1 - padding of it, this makes the gradient of its input.

    Returns
    -------
    Tensor, (batch, out_channels, ny + 2 padding - ky + 1, nx + 2 padding - kx + 1)

    Raises
    ------
    ShapeError
        For tensors that do not fit together or that the kernel has no room for.

    Communication
    -------------
    Local. Deterministic, whatever the number of threads; not differentiable by itself: `hpcml.models.layers.Conv2d` is.

    Examples
    --------
    >>> convolve(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), padding=(1, 1))[0, 0, 0]
    tensor([4., 6., 4.])
    """
    taps, cells = weight.shape[2:], x.shape[2:]
    outputs, inputs = (weight.shape[1], weight.shape[0]) if adjoint else weight.shape[:2]
    size = [n + 2 * pad - k + 1 for n, pad, k in zip(cells, padding, taps, strict=True)]
    _check(x, inputs, taps, size)
    x, out = _with_rows(x), x.new_empty((len(x), outputs, *size))
    sizes = (len(x), outputs, inputs, *size, *cells, *padding, *taps, int(adjoint))
    _run(CONVOLVE, (out, x, weight.contiguous(), bias), (*sizes, *out.stride()[:3], *x.stride()[:3]), (size[1], size[0], len(x)))
    return out


def weight_gradient(dy: Tensor, x: Tensor, taps: Sequence[int], padding: Sequence[int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Gradients of a convolution's weight and bias.

        dw[o, c, k] = sum_{b, i} dy[b, o, i] x[b, c, i + k - padding],        db[o] = sum_{b, i} dy[b, o, i]

    Parameters
    ----------
    dy : Tensor of float32 or float64, (batch, out_channels, ny + 2 padding - ky + 1, nx + 2 padding - kx + 1)
        Gradient of the output.
    x : Tensor of the same dtype, (batch, in_channels, ny, nx)
        What was convolved.
    taps, padding : (int, int)
        Of the convolution.

    Returns
    -------
    Tensor (out_channels, in_channels, ky, kx), Tensor (out_channels,)

    Raises
    ------
    ShapeError
        For tensors that do not fit together or that the kernel has no room for.

    Communication
    -------------
    Local: the sum over ranks is the caller's. Deterministic, whatever the number of threads.
    """
    (batch, outputs, *size), (_, inputs, *cells) = dy.shape, x.shape
    _check(x, inputs, taps, [n + 2 * pad - k + 1 for n, pad, k in zip(cells, padding, taps, strict=True)], dy)
    dw, db = x.new_empty((outputs, inputs, *taps)), x.new_empty(outputs)
    x, dy = _with_rows(x), _with_rows(dy)
    sizes = (batch, outputs, inputs, *size, *cells, *padding, *taps)
    _run(WEIGHT_GRADIENT, (dw, db, dy, x), (*sizes, *dy.stride()[:3], *x.stride()[:3]), (taps[0] * taps[1], outputs, inputs))
    return dw, db


def _with_rows(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 else x.contiguous()


def _check(x: Tensor, channels: int, taps: Sequence[int], size: Sequence[int], dy: Tensor | None = None) -> None:
    """Refuse what the kernels would read or write out of bounds."""
    if x.dim() != 4 or x.shape[1] != channels or min(size) < 1 or (dy is not None and [dy.shape[0], *dy.shape[2:]] != [len(x), *size]):
        given = f"x of shape {tuple(x.shape)}" + ("" if dy is None else f" and dy of shape {tuple(dy.shape)}")
        raise ShapeError(f"{channels} channels, {tuple(taps)} taps and an output of {tuple(size)} cells do not fit {given}")
    if channels > MOST_CHANNELS or max(taps) > MOST_TAPS:
        raise ShapeError(f"the kernel has room for {MOST_CHANNELS} input channels and {MOST_TAPS} taps, got {channels} and {tuple(taps)}")


def _run(kernel: Kernel, arrays: Sequence[Tensor | None], numbers: tuple[int, ...], extent: tuple[int, int, int]) -> None:
    run_kept((kernel.name, numbers), arrays, lambda: kernel.bind(*arrays, *numbers, extent=extent))
