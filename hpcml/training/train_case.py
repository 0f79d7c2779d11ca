"""Train the model of a case in a run directory, from the beginning or from where it stopped."""

import logging
from contextlib import ExitStack
from pathlib import Path

import torch

from hpcml.core.case import Case
from hpcml.core.log import rank_log
from hpcml.io.checkpoint import Checkpointer, StopSignal
from hpcml.io.dataset import Meaning
from hpcml.io.files.agree import together
from hpcml.mpi.world import World
from hpcml.training.evaluation import evaluate
from hpcml.training.experiment import open_experiment
from hpcml.training.loss import LOSSES
from hpcml.training.metrics import MetricsWriter
from hpcml.training.run_directory import RunDirectory
from hpcml.training.stored_pairs import StoredPairs
from hpcml.training.trainer import Trainer

_log = logging.getLogger(__name__)


def train_case(case: Case, folder: Path, world: World, wait: float = 3.0) -> dict[str, float] | None:
    """Train, checkpoint, measure on held-out data.

    Parameters
    ----------
    case : Case
        What to do.
    folder : Path
        Run directory; if it holds a run of the same case, that is gone on with.
    world : World
        All ranks.
    wait : float
        Seconds to wait for another job that is at the run.

    Returns
    -------
    dict of str to float, or None
        Mean relative L2 error on each held-out set, also in ``evaluation.json``; None if SIGUSR1 or SIGTERM came and the state was saved
        before the end.

    Raises
    ------
    HpcmlError
        On every rank, for whatever is wrong with the case, its data, the folder, or the course of training.

    Communication
    -------------
    Collective over world.comm.
    """
    directory = RunDirectory(folder)
    with ExitStack() as stack:
        # First of all that writes, as it refuses a run that another job is at, or that cannot be written to.
        checkpointer = stack.enter_context(Checkpointer(directory.checkpoints, world.comm, lazy=True, patience=wait))
        directory.begin(case, world.comm)
        directory.describe(world.comm)
        directory.take_ways(world.comm)
        stack.enter_context(rank_log(world.rank, world.size, str(world.device), directory.log))
        stop = stack.enter_context(StopSignal(world.comm))  # a signal that comes while data are simulated counts at the first update
        experiment = open_experiment(case, world.comm, directory.snapshots / "simulation.h5")
        domain = stack.enter_context(experiment.domain)
        stack.callback(experiment.close)
        model = experiment.surrogate()
        directory.record_ways(world.comm)
        trainer = Trainer(model, experiment.train, experiment.validation, case.training, LOSSES[case.training.loss], checkpointer, stop)
        if (meaning := experiment.train.meaning) is not None:
            checkpointer.register("meaning", meaning.to_state, lambda saved: Meaning.from_state(saved).check(meaning, same_grid=True))
        restored = checkpointer.restore()
        _log.info(
            "%s: %d samples on %s, %d groups, %d parameters", folder, experiment.train.num_samples, domain, domain.num_data, _size(model)
        )
        if restored is not None:
            _log.info("resuming after update %d from %s (%s)", trainer.step, restored.path, restored.level)
        with together(world.comm, f"opening {folder / 'metrics.csv'}"):
            if world.rank == 0:
                trainer.metrics = stack.enter_context(MetricsWriter(folder, None if restored is None else trainer.position.epoch))
        trainer.fit()
        with together(world.comm, f"writing {folder / 'metrics.csv'}"):
            if trainer.metrics is not None:
                trainer.metrics.finish()
        if trainer.stopped:
            _log.info("stopped as asked after update %d, which is saved; the same command goes on from there", trainer.step)
            return None
        errors = evaluate(case, experiment.held_out, model.state_dict(), folder, world.comm)
        for pairs in (experiment.train, *experiment.held_out.values()):
            if isinstance(pairs, StoredPairs):
                _log.info("rank %d read %s", world.rank, pairs.traffic)
        return errors


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
