"""Loss of a model on samples that only measure it."""

import math

import torch
from torch import Tensor, nn

from hpcml.data.samples import Samples
from hpcml.data.schedule import Schedule
from hpcml.models.on_spaces import on_space
from hpcml.mpi.call import named_call
from hpcml.training.loss import Loss
from hpcml.training.step_losses import step_losses


@named_call
def mean_loss(model: nn.Module, loss: Loss, samples: Samples, batch_size: int, seed: int = 0) -> float:
    """Mean loss over samples, all of which every group of ranks goes through.

    Parameters
    ----------
    model : Module
        Measured in evaluation mode, then in training mode again.
    loss : callable
        ``loss(space, prediction, target)``.
    samples : Samples
        What measures it.
    batch_size : int
        Samples at a time.
    seed : int
        Of their order.

    Returns
    -------
    float
        The same on every rank; NaN if there are no samples.

    Communication
    -------------
    That of model and loss.
    """
    if samples.num_samples == 0:
        return math.nan
    whole = Schedule(samples.num_samples, min(batch_size, samples.num_samples), 1, 1, 0, seed)
    total: Tensor | float = 0.0
    model.eval()
    with torch.no_grad():
        for (batch,) in whole.updates(0):
            for part in samples.taken(batch):
                x, y, _ = part
                total = total + sum(step_losses(on_space(model, part.space), loss, part.space, x, y)) * len(x)
    model.train()
    return float(total) / samples.num_samples
