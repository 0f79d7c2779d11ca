"""Cases of the operators that read a window of the field: convolution, pooling, interpolation, padding, slices, differences."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpcml.fields import difference
from hpcml.fields.domain import Domain
from hpcml.models import layers
from hpcml.models.verification.matrix_case import SHAPES, THIN, Function, MatrixCase, Shape, like_torch

PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


def window_cases(num_dims: int) -> Iterator[MatrixCase]:
    """Cases of one number of dims."""
    for family in (_convolutions, _transposed, _pools, _interpolations, _shuffles, _moves, _slices, _pads, _differences):
        yield from family(num_dims)


def _convolutions(num_dims: int) -> Iterator[MatrixCase]:
    name, shape = f"Conv{num_dims}d", SHAPES[num_dims]
    kernels: tuple[Any, ...] = [(1, 2, 3, 4, 5), (2, 3, (4, 1), (3, 2)), (2, 3)][num_dims - 1]
    for k, (kernel, stride, dilation) in enumerate(itertools.product(kernels, (1, 2, 3) if num_dims < 3 else (1, 2), (1, 2))):
        half = (dilation * (max(kernel, default=0) if isinstance(kernel, tuple) else kernel) - dilation + 1) // 2
        paddings: list[tuple[str, int | str]] = [("zeros", 0), *((mode, half) for mode in PADDING_MODES)]
        if stride == 1:
            paddings += [("zeros", "same"), ("circular", "same")]
        for p, (mode, padding) in enumerate(dict.fromkeys(paddings)):
            options = {"groups": 2} if (k + p) % 3 == 0 else {"bias": False} if (k + p) % 4 == 0 else {}
            yield like_torch(name, shape, 4, 4, 2, kernel, stride, padding, dilation, padding_mode=mode, **options)
    for mode in PADDING_MODES:
        yield like_torch(name, THIN[num_dims], 2, 2, 2, 7, 1, 3, padding_mode=mode)
        yield like_torch(name, THIN[num_dims], 2, 2, 2, 3, 1, 4, 4, padding_mode=mode)


def _transposed(num_dims: int) -> Iterator[MatrixCase]:
    name, shape = f"ConvTranspose{num_dims}d", SHAPES[num_dims]
    kernels = {1: (1, 2, 3, 4), 2: (2, 3, 4), 3: (2, 3)}[num_dims]
    for k, (kernel, stride, dilation, padding) in enumerate(itertools.product(kernels, (1, 2, 3)[: 4 - num_dims], (1, 2), (0, 1))):
        for extra in sorted({0, max(stride, dilation) - 1}):
            options = {"groups": 2} if k % 3 == 0 else {"bias": False} if k % 4 == 0 else {}
            yield like_torch(name, shape, 4, 4, 2, kernel, stride, padding, extra, dilation=dilation, **options)
    yield like_torch(name, THIN[num_dims], 2, 2, 2, 7, 1, 3)


def _pools(num_dims: int) -> Iterator[MatrixCase]:
    average, largest, shape = f"AvgPool{num_dims}d", f"MaxPool{num_dims}d", SHAPES[num_dims]
    strides = (None, 1, 2, 3) if num_dims < 3 else (None, 1)
    for kernel, stride, padding, ceil in itertools.product((2, 3, 4), strides, (0, 1), (False, True)):
        for counted in sorted({True, padding == 0}):
            yield like_torch(average, shape, 2, kernel, stride, padding, ceil_mode=ceil, count_include_pad=counted)
        for dilation in (1, 2):
            yield like_torch(largest, shape, 2, kernel, stride, padding, dilation, ceil_mode=ceil)
    if num_dims > 1:
        yield like_torch(average, shape, 2, (3, 2, 1)[:num_dims], (2, 1, 1)[:num_dims], divisor_override=5)
    yield like_torch(average, THIN[num_dims], 2, 6, 1, 3)


def _interpolations(num_dims: int) -> Iterator[MatrixCase]:
    shape = SHAPES[num_dims]
    sizes: list[dict[str, Any]] = [{"scale_factor": 2}, {"scale_factor": 1.5}, {"scale_factor": 0.6}]
    sizes += [{"size": tuple(n + 5 for n in shape)}, {"size": tuple(n - 4 for n in shape)}]
    sizes += [{"scale_factor": 1.3, "recompute_scale_factor": True}]
    smooth = [("linear",), ("bilinear", "bicubic"), ("trilinear",)][num_dims - 1]
    modes: list[dict[str, Any]] = [{"mode": mode} for mode in ("nearest", "nearest-exact", "area")]
    modes += [{"mode": mode, "align_corners": corners} for mode in smooth for corners in (False, True)]
    for size, mode in itertools.product(sizes, modes):
        yield _interpolation(shape, size | mode)


def _interpolation(shape: Shape, options: dict[str, Any]) -> MatrixCase:
    def make(domain: Domain) -> nn.Module:
        return layers.Interpolate(domain, **options)

    setting = ", ".join(f"{key}={value}" for key, value in options.items())
    return MatrixCase("Interpolate", setting, shape, 2, make, lambda: nn.Upsample(**options))


def _shuffles(num_dims: int) -> Iterator[MatrixCase]:
    for factor in (2, 3) if num_dims == 2 else ():
        shape = SHAPES[num_dims]
        yield like_torch("PixelShuffle", shape, 2 * factor**2, factor)
        yield like_torch("PixelUnshuffle", tuple(factor * (n // factor) for n in shape), 2, factor)


def _moves(num_dims: int) -> Iterator[MatrixCase]:
    for shift in (1, -2, 7, 40):
        shifts = tuple(shift + d for d in range(num_dims))
        yield _roll(SHAPES[num_dims], shifts)


def _roll(shape: Shape, shifts: tuple[int, ...]) -> MatrixCase:
    dims = tuple(range(-len(shifts), 0))
    return MatrixCase(
        "Roll", str(shifts), shape, 2, lambda domain: layers.Roll(domain, shifts), lambda: Function(lambda x: torch.roll(x, shifts, dims))
    )


def _slices(num_dims: int) -> Iterator[MatrixCase]:
    shape = SHAPES[num_dims]
    for cut in (slice(1, None), slice(None, -1), slice(2, -3), slice(None, None, 2), slice(1, None, 2)):
        yield _slice(shape, (cut,) * num_dims)
    difference = Function(lambda x: x[:, :, 1:] - x[:, :, :-1])
    yield MatrixCase("Slice", "x[1:] - x[:-1]", shape, 2, Staggered, lambda: difference)


def _slice(shape: Shape, cuts: tuple[slice, ...]) -> MatrixCase:
    index: tuple[Any, ...] = (..., *cuts)
    reference = Function(lambda x: x[index])
    return MatrixCase("Slice", str(cuts[0]), shape, 2, lambda domain: layers.Slice(domain, *cuts), lambda: reference)


class Staggered(nn.Module):
    """Difference of neighbors along the first dim, x[1:] - x[:-1], on the domain of one cell less."""

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        rest = (slice(None),) * (domain.num_dims - 1)
        self.upper = layers.Slice(domain, slice(1, None), *rest)
        self.lower = layers.Slice(domain, slice(None, -1), *rest)
        self.domain_out = self.upper.domain_out

    def forward(self, x: Tensor) -> Tensor:
        """Difference of this rank's block."""
        return self.upper(x) - self.lower(x)


def _pads(num_dims: int) -> Iterator[MatrixCase]:
    widths = [[2, 1] * num_dims, [0, 3] + [0, 0] * (num_dims - 1), [6, 5] + [0, 0] * (num_dims - 1)]
    for mode, pad in itertools.product(("constant", "circular", "reflect", "replicate"), widths):
        yield _pad(SHAPES[num_dims], pad, mode)
    yield _pad(SHAPES[num_dims], [-2, -1] * num_dims, "constant")


def _pad(shape: Shape, pad: list[int], mode: str) -> MatrixCase:
    reference = Function(lambda x: functional.pad(x, pad, mode))
    return MatrixCase("Pad", f"{pad}, {mode}", shape, 2, lambda domain: layers.Pad(domain, pad, mode), lambda: reference)


def _differences(num_dims: int) -> Iterator[MatrixCase]:
    rules = (("periodic", "circular"), ("zero", "constant"), ("reflect", "reflect"), ("replicate", "replicate"))
    for (boundary, mode), order in itertools.product(rules, (2, 4)):
        for name in ("gradient", "divergence", "laplacian"):
            yield _difference(name, SHAPES[num_dims], order, boundary, mode)


def _difference(name: str, shape: Shape, order: int, boundary: str, mode: str) -> MatrixCase:
    num_dims = len(shape)
    weights = (difference.SECOND if name == "laplacian" else difference.FIRST)[order]
    power = 2 if name == "laplacian" else 1

    def along(x: Tensor, d: int) -> Tensor:
        pads = [order // 2 if k // 2 == num_dims - 1 - d else 0 for k in range(2 * num_dims)]
        wide = functional.pad(x, pads, mode)
        terms = [w * wide.narrow(d + 2, k, shape[d]) for k, w in enumerate(weights)]
        return torch.stack(terms).sum(0) * shape[d] ** power

    def reference(x: Tensor) -> Tensor:
        if name == "gradient":
            return torch.cat([along(x, d) for d in range(num_dims)], 1)
        parts = [along(x[:, d : d + 1] if name == "divergence" else x, d) for d in range(num_dims)]
        return torch.stack(parts).sum(0)

    return MatrixCase(
        "Difference",
        f"{name}, order {order}, {boundary}",
        shape,
        num_dims,
        lambda domain: _Difference(domain, name, order, boundary),
        lambda: Function(reference),
    )


class _Difference(nn.Module):
    """A function of `hpcml.fields.difference` as a layer."""

    def __init__(self, domain: Domain, name: str, order: int, boundary: str) -> None:
        super().__init__()
        self.domain = self.domain_out = domain
        self.name, self.order, self.boundary = name, order, (boundary,) * domain.num_dims

    def forward(self, x: Tensor) -> Tensor:
        y = getattr(difference, self.name)(x, self.domain, self.order, self.boundary)
        return torch.cat(y, 1) if isinstance(y, tuple) else y
