"""What the Adam kernel means."""

from torch import Tensor


def adam_twin(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    n: int,
    keep: float,
    rest1: float,
    beta2: float,
    rest2: float,
    rate: float,
    root: float,
    epsilon: float,
) -> None:
    """Move both moments, then the parameter."""
    m.copy_(m + rest1 * (g - m))
    v.copy_(v * beta2 + rest2 * (g * g))
    p.copy_(p * keep - rate * (m / (v.sqrt() / root + epsilon)))
