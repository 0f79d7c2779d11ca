"""Ranks that train together hold the same bits: looked at now and then."""

import math

import numpy as np
from mpi4py import MPI
from torch import nn

from hpcml.core.errors import TrainingError
from hpcml.models.replicas import check_gradients, check_parameters
from hpcml.mpi.reductions import all_min

COMPARE_EVERY = 100
"""Updates from one comparison of the ranks' parameters to the next: a checksum costs a hundredth of an update or less."""


class Comparison:
    """Compares parameters every `COMPARE_EVERY` updates, loss and gradients at the first one.

    Parameters
    ----------
    model : Module
        What is trained.
    comm : MPI.Intracomm
        All ranks of the training.

    Communication
    -------------
    Collective over comm, when it compares.
    """

    def __init__(self, model: nn.Module, comm: MPI.Intracomm) -> None:
        self._model, self._comm, self._first = model, comm, True

    def before_update(self, step: int) -> None:
        """Compare parameters if it is time to.

        Raises
        ------
        CommunicationError
            On every rank, if they differ.
        """
        if self._first or step % COMPARE_EVERY == 0:
            check_parameters(self._model, self._comm)

    def of_gradient(self, loss: float) -> None:
        """See that the first loss is of all ranks together, and so are the gradients.

        Raises
        ------
        TrainingError, ConfigError
            On every rank, if they differ.
        """
        if not self._first:
            return
        self._first = False
        lowest, highest = all_min(np.array([loss, -loss]), self._comm)
        if lowest != -highest and not math.isnan(loss):
            raise TrainingError(
                f"the loss is {lowest:.6g} on one rank and {-highest:.6g} on another: expected one number of the whole batch on the whole "
                "space; sum what is local with hpcml.parallel.global_sum(space.world_comm, ...)"
            )
        check_gradients(self._model, self._comm)
