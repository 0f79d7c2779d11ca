"""Product of tensors that broadcast against each other."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def product(factors: Sequence[Tensor]) -> Tensor:
    """Multiply any number of tensors; 1 for none.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> product([torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [4.0]])])
    tensor([[3., 6.],
            [4., 8.]])
    """
    return math.prod(factors, start=torch.ones((), dtype=factors[0].dtype if factors else torch.float64))
