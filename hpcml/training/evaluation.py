"""How wrong a trained model is on data that it has not seen."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint import restore
from hpcml.io.files.agree import together
from hpcml.io.files.replace import write_file
from hpcml.training.experiment import Experiment, load_surrogate
from hpcml.training.loss import LOSSES
from hpcml.training.run_directory import RunDirectory

_log = logging.getLogger(__name__)


def evaluate(experiment: Experiment, state: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Mean relative L2 error of a trained model on every held-out set, each at its own resolution.

    Parameters
    ----------
    experiment : Experiment
        The case and its data.
    state : mapping
        State dict of the model.
    folder : Path
        Gets ``evaluation.json``.

    Returns
    -------
    dict of str to float
        Error of each set, by name.

    Communication
    -------------
    Collective over all ranks; rank 0 writes.
    """
    errors = {}
    for name, pairs in experiment.held_out.items():
        model = load_surrogate(experiment.case, pairs.domain, state)
        total = 0.0
        with torch.no_grad():
            for sample in torch.arange(pairs.num_samples).split(experiment.case.training.batch_size):
                x, y = pairs.take(sample)
                total += float(LOSSES["relative_l2"](pairs.domain, model(x), y)) * len(sample)
        errors[name] = total / pairs.num_samples
        _log.info("relative L2 error on %s, %s cells: %.4f", name, " x ".join(map(str, pairs.domain.global_shape)), errors[name])
    comm = experiment.domain.world_comm
    with together(comm, f"writing {folder / 'evaluation.json'}"):
        if comm.rank == 0:
            write_file(folder / "evaluation.json", (json.dumps({"relative_l2": errors}, indent=2) + "\n").encode())
    return errors


def trained_state(directory: RunDirectory, comm: MPI.Intracomm) -> Mapping[str, Any]:
    """State dict of the model in the newest whole checkpoint of a run.

    Raises
    ------
    CheckpointError
        On every rank, if there is none.

    Communication
    -------------
    Collective over comm.
    """
    restored = restore(directory.checkpoints, comm)
    if restored is None:
        raise CheckpointError(f"{directory.path} holds no checkpoint: run `hpcml train {directory.config} --run {directory.path}` first")
    state: Mapping[str, Any] = restored.state["model"]
    return state
