"""Adam with decoupled weight decay, one pass over memory per tensor."""

import math

from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.adam_twin import adam_twin
from hpcml.kernels.kernel import Kernel

ADAM = Kernel("adam", "adam", adam_twin)


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    decay: float = 0.0,
) -> None:
    """Update a parameter and its moments in place, as `torch.optim.AdamW` does.

        m += (1 - beta1) (g - m),   v = beta2 v + (1 - beta2) g^2
        p = (1 - lr decay) p - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + epsilon)

    Parameters
    ----------
    parameter, gradient, mean, square : Tensor of float32 or float64, contiguous, of one shape
        p, g, m and v; all but ``gradient`` are written.
    step : int
        t, counted from 1.
    lr, betas, epsilon, decay : float
        As in `torch.optim.AdamW`; with ``decay`` 0 it is Adam.

    Raises
    ------
    ShapeError
        For tensors of different shapes, or a step below 1.

    Communication
    -------------
    Local: the gradient is that of all ranks. Deterministic; the same bits on the CPU and on a GPU, and those of
    the twin up to the rounding of its square root.
    """
    if step < 1 or not parameter.shape == gradient.shape == mean.shape == square.shape:
        shapes = [tuple(t.shape) for t in (parameter, gradient, mean, square)]
        raise ShapeError(f"Adam needs four tensors of one shape and a step from 1 on, got {shapes} and step {step}")
    beta1, beta2 = betas
    rate, root = lr / (1 - beta1**step), math.sqrt(1 - beta2**step)
    numbers = (1 - lr * decay, 1 - beta1, beta2, 1 - beta2, rate, root, epsilon)
    n = parameter.numel()
    ADAM(parameter.detach(), gradient, mean, square, n, *numbers, extent=(n,))
