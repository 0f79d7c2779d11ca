"""Training: data, loss, optimiser and loop, over groups of ranks that each hold the whole domain."""

from hpcml.training.dataset import Pairs, Samples
from hpcml.training.loss import Loss, h1, mse, relative_l2
from hpcml.training.trainer import Trainer

__all__ = ["Loss", "Pairs", "Samples", "Trainer", "h1", "mse", "relative_l2"]
