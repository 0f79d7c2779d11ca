"""Convolution of few channels in two dims with stride 1, and its derivatives.

The kernels are the faster where a matrix product over channels has little to work on; see `hpcml.kernels.conv_choice`.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.backend import choose_backend
from hpcml.kernels.conv_twin import convolve_twin, weight_gradient_twin
from hpcml.kernels.kept_launch import run_kept
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch

CONVOLVE = Kernel("conv", "convolve", convolve_twin, strided=("out", "x"))
WEIGHT_GRADIENT = Kernel("conv", "weight_gradient", weight_gradient_twin, strided=("dy", "x"))
Shape = tuple[int, ...]

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
    padding = tuple(padding)
    x, weight = _with_rows(x), weight.contiguous()
    out = x.new_empty(_output(x.shape, weight.shape, padding, adjoint))
    run_kept(("convolve", padding, adjoint), (out, x, weight, bias), lambda: _bind_convolve(out, x, weight, bias, padding, adjoint))
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
    padding = tuple(padding)
    x, dy = _with_rows(x), _with_rows(dy)
    dw, db = x.new_empty(_weight(dy.shape, x.shape, tuple(taps), padding)), x.new_empty(dy.shape[1])
    run_kept(("weight_gradient", padding), (dw, db, dy, x), lambda: _bind_weight_gradient(dw, db, dy, x, padding))
    return dw, db


def _with_rows(x: Tensor) -> Tensor:
    return x if x.dim() != 4 or x.stride(3) == 1 else x.contiguous()


@lru_cache
def _output(x: Shape, weight: Shape, padding: Shape, adjoint: bool) -> Shape:
    """Shape of a convolution's output; refuses what the kernel would read or write out of bounds."""
    outputs, inputs = (weight[1], weight[0]) if adjoint else weight[:2]
    size = tuple(n + 2 * pad - k + 1 for n, pad, k in zip(x[2:], padding, weight[2:], strict=False))
    if len(x) != 4 or x[1] != inputs or min(size) < 1:
        raise _misfit(inputs, weight[2:], size, f"x of shape {tuple(x)}")
    _check_room(inputs, weight[2:])
    return (x[0], outputs, *size)


@lru_cache
def _weight(dy: Shape, x: Shape, taps: Shape, padding: Shape) -> Shape:
    """Shape of a convolution's weight, from those of its output and its input; refuses likewise."""
    size = tuple(n + 2 * pad - k + 1 for n, pad, k in zip(x[2:], padding, taps, strict=False))
    if len(x) != 4 or min(size) < 1 or (dy[0], *dy[2:]) != (x[0], *size):
        raise _misfit(x[1], taps, size, f"x of shape {tuple(x)} and dy of shape {tuple(dy)}")
    _check_room(x[1], taps)
    return (dy[1], x[1], *taps)


def _misfit(channels: int, taps: Shape, size: Shape, given: str) -> ShapeError:
    return ShapeError(f"{channels} channels, {tuple(taps)} taps and an output of {size} cells do not fit {given}")


def _check_room(channels: int, taps: Shape) -> None:
    if channels > MOST_CHANNELS or max(taps) > MOST_TAPS:
        raise ShapeError(f"the kernel has room for {MOST_CHANNELS} input channels and {MOST_TAPS} taps, got {channels} and {tuple(taps)}")


def _bind_convolve(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Shape, adjoint: bool) -> Launch:
    batch, outputs, *size = out.shape
    sizes = (batch, outputs, x.shape[1], *size, *x.shape[2:], *padding, *weight.shape[2:], int(adjoint))
    return CONVOLVE.bind(out, x, weight, bias, *sizes, *out.stride()[:3], *x.stride()[:3], extent=(size[1], size[0], batch))


def _bind_weight_gradient(dw: Tensor, db: Tensor, dy: Tensor, x: Tensor, padding: Shape) -> Launch:
    outputs, inputs, *taps = dw.shape
    sizes = (len(x), outputs, inputs, *dy.shape[2:], *x.shape[2:], *padding, *taps)
    extent = (taps[0] * taps[1], outputs, inputs)
    return WEIGHT_GRADIENT.bind(dw, db, dy, x, *sizes, *dy.stride()[:3], *x.stride()[:3], extent=extent)
