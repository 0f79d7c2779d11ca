"""A case brought to life on the ranks of a job: its data, its domain, its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.case import Case, Dataset, Ranks, Simulation, Tensors
from hpcml.core.errors import CheckpointError, ConfigError, HpcmlError
from hpcml.core.online_data import Online
from hpcml.data.moments import moments
from hpcml.data.samples import Pairs, Samples
from hpcml.data.several import Several
from hpcml.data.several_meshes import open_samples
from hpcml.data.stored_pairs import StoredPairs, open_pairs
from hpcml.data.tensor_files import read_pairs
from hpcml.equations import build_equation
from hpcml.fields.domain import Domain
from hpcml.models.factory import build_network
from hpcml.models.on_spaces import twins
from hpcml.models.surrogate import Surrogate
from hpcml.parallel.space import Space
from hpcml.runs.dtype_of import dtype_of, half_of
from hpcml.runs.equation_fields import simulated_meaning
from hpcml.runs.held_out import open_held_out
from hpcml.runs.held_out_simulations import held_out_here, pairs_of
from hpcml.runs.simulated_data import as_dataset
from hpcml.runs.simulation import simulate_pairs


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
    def space(self) -> Space:
        """Where the training data live."""
        return self.train.space

    @property
    def validation(self) -> Samples:
        """Held-out pairs on the grid or mesh of training, where there are several meshes all; empty if there are none."""
        if isinstance(self.train, Several) and self.held_out:
            return Several(list(self.held_out.values()), self.train.world_comm)
        same = (pairs for pairs in self.held_out.values() if same_points(pairs.space, self.space))
        return next(same, Pairs.none(self.space, self.train.num_channels))

    def close(self) -> None:
        """Close the files that are read while training."""
        for pairs in self.held_out.values():
            pairs.close()
            if isinstance(self.train, Several):
                pairs.space.close()
        self.train.close()

    def surrogate(self) -> Surrogate:
        """Make the untrained model, normalised by the training data.

        Communication
        -------------
        Collective.
        """
        spaces = list({id(space): space for space in (*self.train.spaces, *self.validation.spaces)}.values())
        model: Surrogate = twins(lambda space: build_surrogate(self.case, space, *self.train.num_channels), spaces)
        inputs, changes = [], []
        for space, x, y in self.train.typical_on_each():
            inputs.append((space, x))
            changes.append((space, y - model.state_in(x) if model.residual else y))
        model.fit_to(*(moments(*first, *more) for first, *more in (inputs, changes)))
        return model


def same_points(one: Space, other: Space) -> bool:
    """Whether what lies on one space lies on the other: grids of as many cells, or one and the same graph."""
    return one is other or (isinstance(one, Domain) and one.global_shape == other.global_shape)


def build_surrogate(case: Case, space: Space, in_channels: int, out_channels: int) -> Surrogate:
    """Make the untrained model of a case on a space; it predicts the change of a state where the case steps in time."""
    network = build_network(case.model, space, in_channels, out_channels, case.training.seed, dtype_of(case))
    model = Surrogate(network, in_channels, out_channels, steps_in_time(case), half_of(case), space)
    return model.to(space.device, dtype_of(case))


def load_surrogate(case: Case, space: Space, state: Mapping[str, Any]) -> Surrogate:
    """Make the model of a case on a domain of any resolution, or on any graph, with a trained state.

    Raises
    ------
    CheckpointError
        On every rank, if the state is of another model.
    """
    model = build_surrogate(case, space, len(state["input_mean"]), len(state["target_mean"]))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another model than the case describes: {error}") from None
    return model.eval()


def steps_in_time(case: Case) -> bool:
    """Whether a model of the case takes a state to a later one, so that it can go on from what it predicts."""
    if isinstance(case.data, Online):
        return case.data.inputs == "state"
    if isinstance(case.data, Dataset):
        return case.data.stride > 0 and case.data.inputs[: len(case.data.targets)] == case.data.targets and _known(case.data)
    return isinstance(case.data, Simulation) and case.equation is not None and not build_equation(case.equation).steady


def _known(data: Dataset) -> bool:
    """Whether the case says the targets wherever it says inputs."""
    return bool(data.targets) or not data.inputs


def check_steps(case: Case) -> None:
    """See that a model that shall learn over several steps, or with noise in its targets, can go on from what it predicts."""
    if case.training.noise and case.training.noise_in_targets and not steps_in_time(case):
        raise ConfigError("training.noise_in_targets is for data that lead from fields to the same fields later on: leave it out")
    if case.training.steps > 1 and not steps_in_time(case):
        raise ConfigError(
            f"training.steps = {case.training.steps} lets the model go on from what it predicts: expected data that lead from fields to "
            "the same fields later on (an equation that is not steady, or a dataset with a stride and with targets like its inputs)"
        )


def open_experiment(case: Case, comm: MPI.Intracomm, simulated: Sequence[Path] | None = None) -> Experiment:
    """Read the data of a case and deal them to the ranks.

    Parameters
    ----------
    case : Case
        The case.
    comm : MPI.Intracomm
        All ranks.
    simulated : sequence of Path, optional
        Files of what the case simulates, see `hpcml.runs.simulated_data`; without them it is simulated in memory.

    Raises
    ------
    ConfigError, TopologyError, TrainingError
        On every rank.

    Communication
    -------------
    Collective over comm.
    """
    check_steps(case)
    data, dtype, steps = case.data, dtype_of(case), case.training.steps
    if isinstance(data, Simulation):
        assert case.equation is not None
        if simulated is not None:
            files: list[StoredPairs] = []
            for file, count in zip(simulated, (steps, 1), strict=True):
                spec = as_dataset(case, file)
                files.append(open_pairs(str(file), spec, case.grid, case.ranks, comm, dtype, steps=count, beside=tuple(files)))
            for each in files:
                each.meaning = replace(simulated_meaning(build_equation(case.equation), each.space, data), mesh=each.meaning.mesh)
            return Experiment(case, files[0], {"held out": files[1]})
        pairs = simulate_pairs(case, comm, dtype)
        meaning = simulated_meaning(build_equation(case.equation), pairs[0].space, data)
        train, held_out = (replace(each, meaning=meaning) for each in pairs)
        return Experiment(case, train, {"held out": held_out})
    if isinstance(data, Online):
        pairs_held_out, space = held_out_here(case, comm)
        measured_alone = pairs_of(pairs_held_out, case, space)
        assert measured_alone is not None
        return Experiment(case, measured_alone, {"held out": measured_alone})
    learned: Samples
    if isinstance(data, Tensors):
        learned = read_pairs(data.train, data, case.grid, case.ranks, comm, dtype)
    else:
        learned = open_samples(data.path, data, case.grid, case.ranks, comm, dtype, steps)
    measured = open_held_out(case, data.test, learned.meaning, *_ranks_of(learned, case, comm))
    experiment = Experiment(case, learned, measured)
    for path, samples in experiment.held_out.items():  # now, and not after training: is there such a model at their resolution?
        if not same_points(samples.space, learned.space):
            _check_model(case, samples, path)
    return experiment


def _ranks_of(learned: Samples, case: Case, comm: MPI.Intracomm) -> tuple[Ranks, MPI.Intracomm, Sequence[Samples]]:
    """How held-out data are dealt beside those of training, to which ranks, and what these are."""
    if isinstance(learned, Several):
        return case.ranks.model_copy(update={"data": 1}), learned.space.comm, learned.parts
    return case.ranks, comm, [learned]


def _check_model(case: Case, samples: Samples, path: str) -> None:
    try:
        build_surrogate(case, samples.space, *samples.num_channels)
    except HpcmlError as error:
        raise type(error)(f"{path}: {error}") from None
