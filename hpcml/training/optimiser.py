"""The optimiser of a case and how its learning rate falls."""

import math

import torch
from torch import nn

from hpcml.core.case import Training

FUSED = ("cpu", "cuda")


def build_optimiser(model: nn.Module, spec: Training) -> torch.optim.Optimizer:
    """AdamW over all parameters, a pass over memory each where they are real; torch has no such pass for complex ones.

    References
    ----------
    I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019.
    """
    kinds: dict[bool, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        kinds.setdefault(parameter.is_floating_point(), []).append(parameter)
    groups = [{"params": parameters, "fused": real and parameters[0].device.type in FUSED} for real, parameters in kinds.items()]
    return torch.optim.AdamW(groups, lr=spec.learning_rate, weight_decay=spec.weight_decay)


def rate_factor(spec: Training, epoch: float) -> float:
    """Learning rate at a point of training, over the one that it starts from.

    Parameters
    ----------
    spec : Training
        Says which schedule: ``constant``; ``cosine``, half a period down to zero; ``step``, halved four times at equal distances.
    epoch : float
        Epochs done, 0 to ``spec.epochs``.
    """
    done = epoch / spec.epochs
    if spec.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if spec.schedule == "step":
        return 0.5 ** math.floor(5 * done)
    return 1.0
