"""A case brought to life on the ranks of a job: its data, its domain, its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core.case import Case, Dataset, Simulation, Tensors
from hpcml.core.errors import CheckpointError
from hpcml.fields.domain import Domain
from hpcml.models.factory import build_network
from hpcml.models.surrogate import Surrogate
from hpcml.training.dataset import Pairs, Samples, moments
from hpcml.training.simulation import simulate_pairs
from hpcml.training.stored_pairs import open_pairs
from hpcml.training.tensor_files import read_pairs


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a case says, on this rank.

    Attributes
    ----------
    case : Case
        The case.
    train : Samples
        What the model learns from.
    held_out : dict of str to Samples
        What only measures it, by name; other resolutions have a domain of their own. The first validates during training.
    """

    case: Case
    train: Samples
    held_out: Mapping[str, Samples]

    @property
    def domain(self) -> Domain:
        """Where the training data live."""
        return self.train.domain

    @property
    def validation(self) -> Samples:
        """Held-out pairs on the domain of training; empty if there are none."""
        same = (pairs for pairs in self.held_out.values() if pairs.domain.global_shape == self.domain.global_shape)
        return next(same, Pairs.none(self.domain, self.train.num_channels))

    def close(self) -> None:
        """Close the files that are read while training."""
        for pairs in (self.train, *self.held_out.values()):
            pairs.close()

    def surrogate(self) -> Surrogate:
        """Make the untrained model, normalised by the training data.

        Communication
        -------------
        Collective.
        """
        model = build_surrogate(self.case, self.domain, *self.train.num_channels)
        inputs, targets = self.train.typical()
        model.fit_to(moments(self.domain, inputs), moments(self.domain, targets - inputs if model.residual else targets))
        return model


def build_surrogate(case: Case, domain: Domain, in_channels: int, out_channels: int) -> Surrogate:
    """Make the untrained model of a case on a domain; it predicts the change of a state where the case steps in time."""
    network = build_network(case.model, domain, in_channels, out_channels, case.training.seed, dtype_of(case))
    return Surrogate(network, in_channels, out_channels, residual=steps_in_time(case)).to(dtype_of(case))


def load_surrogate(case: Case, domain: Domain, state: Mapping[str, Any]) -> Surrogate:
    """Make the model of a case on any domain of any resolution, with a trained state.

    Raises
    ------
    CheckpointError
        On every rank, if the state is of another model.
    """
    model = build_surrogate(case, domain, len(state["input_mean"]), len(state["target_mean"]))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another model than the case describes: {error}") from None
    return model.eval()


def steps_in_time(case: Case) -> bool:
    """Whether a model of the case takes a state to a later one, so that it can go on from what it predicts."""
    if isinstance(case.data, Dataset):
        return case.data.stride > 0 and case.data.inputs == case.data.targets
    return isinstance(case.data, Simulation) and case.equation is not None and case.equation.name != "darcy"


def dtype_of(case: Case) -> torch.dtype:
    """Precision that a case asks for."""
    return {"float32": torch.float32, "float64": torch.float64}[case.training.dtype]


def open_experiment(case: Case, comm: MPI.Intracomm, snapshots: Path | None = None) -> Experiment:
    """Read or simulate the data of a case and deal them to the ranks; ``snapshots`` is a file for what is simulated, as the case asks.

    Raises
    ------
    ConfigError, TopologyError, TrainingError
        On every rank.

    Communication
    -------------
    Collective over comm.
    """
    data, dtype = case.data, dtype_of(case)
    if isinstance(data, Tensors):
        read = {path: read_pairs(path, data, case.grid, case.ranks, comm, dtype) for path in (data.train, *data.test)}
        return Experiment(case, read[data.train], {path: read[path] for path in data.test})
    if isinstance(data, Dataset):
        stored = {path: open_pairs(path, data, case.grid, case.ranks, comm, dtype) for path in (data.path, *data.test)}
        return Experiment(case, stored[data.path], {path: stored[path] for path in data.test})
    train, held_out = simulate_pairs(case, comm, dtype, snapshots)
    return Experiment(case, train, {"held out": held_out})
