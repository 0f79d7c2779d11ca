"""Convolution of a tensor on one rank: the numbers that torch is told beside its tensors, forward and backward."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from hpcml.kernels import conv
from hpcml.kernels.conv_choice import TORCH, ConvChoice

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Convolution:
    """One number for each dim; ``padding`` is the zero padding that is left to torch.

    Notes
    -----
    ``choice`` says where the kernel is faster than torch. Where it does not serve, and few channels make torch's kernel for the gradient of
    the input several times slower than the one it takes forward, as on CPUs in float32, that gradient is computed as the forward
    convolution that it is:

        x'[i] = sum_j w[j] y'[i + pad - dil j]
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] | None = None
    choice: ConvChoice = TORCH

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        if self._takes("forward", x, weight):
            return conv.convolve(x, weight, bias, self.padding)
        return torch.convolution(x, weight, bias, self.stride, self.padding, self.dilation, self.transposed, self._extra, self.groups)

    def forward_any(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve as the public functions do, which also know complex numbers and autocast."""
        name = f"{'conv_transpose' if self.transposed else 'conv'}{len(self.kernel)}d"
        extra = {"output_padding": self._extra} if self.transposed else {}
        convolve = getattr(functional, name)
        return convolve(x, weight, bias, self.stride, self.padding, dilation=self.dilation, groups=self.groups, **extra)

    def backward(self, y: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Gradients:
        """Gradients of x, weight and bias, those that are wanted, for the gradient y of the output."""
        if self._takes("backward", x, weight):
            return self._direct_backward(y, x, weight, wanted)
        if not wanted[0] or self._adjoint is None or weight.shape[1] == 1 or not self.choice.takes("flipped", weight):
            return self._backward(y, x, weight, wanted)
        _, weight_grad, bias_grad = self._backward(y, x, weight, (False, *wanted[1:])) if any(wanted[1:]) else (None, None, None)
        return self._adjoint.forward(y, weight.transpose(0, 1).flip(self._kernel_dims), None), weight_grad, bias_grad

    def _direct_backward(self, y: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Gradients:
        padding = tuple(k - 1 - p for k, p in zip(self.kernel, self.padding, strict=True))
        x_grad = conv.convolve(y, weight, None, padding, adjoint=True) if wanted[0] else None
        weight_grad, bias_grad = conv.weight_gradient(y, x, self.kernel, self.padding) if any(wanted[1:]) else (None, None)
        return x_grad, weight_grad, bias_grad if wanted[2] else None

    def _backward(self, y: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Gradients:
        channels = [weight.shape[1] * self.groups if self.transposed else weight.shape[0]]
        return torch.ops.aten.convolution_backward.default(
            y, x, weight, channels, self.stride, self.padding, self.dilation, self.transposed, self._extra, self.groups, wanted
        )

    def _takes(self, way: str, x: Tensor, weight: Tensor) -> bool:
        return self._is_direct and not torch.is_grad_enabled() and self.choice.takes(way, weight) and conv.fits(x, weight)

    @cached_property
    def _is_direct(self) -> bool:
        """Whether `hpcml.kernels.conv` knows such convolutions."""
        return len(self.kernel) == 2 and set(self.stride + self.dilation) == {1} and self.groups == 1 and not self.transposed

    @cached_property
    def _extra(self) -> tuple[int, ...]:
        return self.output_padding or (0,) * len(self.kernel)

    @cached_property
    def _kernel_dims(self) -> tuple[int, ...]:
        return tuple(range(2, 2 + len(self.kernel)))

    @cached_property
    def _adjoint(self) -> "Convolution | None":
        """The forward convolution that gives the gradient of the input, where there is one."""
        padding = tuple(dil * (k - 1) - p for dil, k, p in zip(self.dilation, self.kernel, self.padding, strict=True))
        if self.transposed or self.groups > 1 or max(self.stride) > 1 or min(padding) < 0:
            return None
        return Convolution(self.kernel, self.stride, padding, self.dilation, 1)
