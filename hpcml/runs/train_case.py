"""Train the model of a case in a run directory, from the beginning or from where it stopped."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from hpcml.core.case import Case, Simulation
from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.data.case_device import bind_case
from hpcml.data.stored_pairs import StoredPairs
from hpcml.data.stream import Stream
from hpcml.io.checkpoint import Checkpointer
from hpcml.io.dataset import Meaning
from hpcml.io.files.agree import together
from hpcml.mpi import Monitor, StopSignal
from hpcml.mpi.patience import lenient
from hpcml.mpi.world import World
from hpcml.parallel.stages import Stages
from hpcml.runs.check_case import check_case
from hpcml.runs.evaluation import evaluate
from hpcml.runs.experiment import Experiment, open_experiment
from hpcml.runs.fine_tuning import freeze, take_over
from hpcml.runs.run_directory import RunDirectory
from hpcml.runs.run_log import run_log
from hpcml.runs.run_status import RunStatus
from hpcml.runs.simulated_data import simulated_data, write_snapshots
from hpcml.training.metrics import MetricsWriter
from hpcml.training.pipelining import pipeline
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
    with Stages(world, 1 if case.training.pipeline is None else case.training.pipeline.stages) as stages:
        if isinstance(case.data, Online):
            raise ConfigError("data.kind = 'online' learns from simulations while they run: start hpcml online in place of hpcml train")

        def opened(directory: RunDirectory, stop: StopSignal) -> Experiment | None:
            simulated = None
            if isinstance(case.data, Simulation):
                simulated = simulated_data(case, folder, world, stop)
                if simulated is None:
                    _log.info("stopped as asked while trajectories were simulated; the same command goes on from there")
                    return None
                if case.snapshots.simulation:
                    write_snapshots(case, simulated[0], directory.snapshots / "simulation.h5", world)
            return open_experiment(case, stages.comm, simulated)

        check = lambda: check_case(case, stages.comm)  # noqa: E731
        return train_in(folder, case, world, stages, check, opened, wait)


def train_in(
    folder: Path,
    case: Case,
    world: World,
    stages: Stages,
    check: Callable[[], None],
    opened: Callable[[RunDirectory, StopSignal], Experiment | None],
    wait: float,
    stream: Callable[[Experiment], Stream] | None = None,
) -> dict[str, float] | None:
    """Train in a run directory, from whatever gives the experiment.

    Parameters
    ----------
    folder, case, world, wait
        As `train_case` has them.
    stages : Stages
        Of a pipeline, or one.
    check : callable
        Refuses what is wrong with the case before anything is written.
    opened : callable
        Gives the experiment in the run directory, or None where it was asked to stop before there is one.
    stream : callable, optional
        Gives what is learned from in place of passes over the experiment's data. It is closed when training ends.

    Returns
    -------
    dict of str to float, or None
        As `train_case`.

    Communication
    -------------
    Collective over world.comm.
    """
    device = bind_case(case.ranks, world)
    with ExitStack() as stack:
        check()
        directory = RunDirectory(folder)
        stop = stack.enter_context(StopSignal(world.comm))
        with lenient():  # the others wait for as long as rank 0 waits for another job
            # First of all that writes, as it refuses a run that another job is at, or that cannot be written to.
            checkpointer = stack.enter_context(Checkpointer(directory.checkpoints, world.comm, lazy=True, patience=wait))
        directory.begin(case, world.comm)
        status = stack.enter_context(RunStatus(folder, world.rank, world.size, world.hosts))
        directory.describe(world.comm)
        directory.take_ways(world.comm)
        stack.enter_context(run_log(directory, world, device))
        experiment = opened(directory, stop)
        if experiment is None:
            status.stopped()
            return None
        stack.enter_context(experiment.space)
        stack.callback(experiment.close)
        with Monitor(world.comm, tell=status.note) as monitor:
            trainer = _fit(experiment, directory, checkpointer, stop, world, stages, stream, monitor)
        if trainer.stopped:
            _log.info("stopped as asked after update %d, which is saved; the same command goes on from there", trainer.step)
            status.stopped(trainer.step)
            return None
        with trainer.averaged():
            errors = evaluate(case, experiment.held_out, trainer.model.state_dict(), folder, world.comm)
        status.finished(trainer.step)
        for pairs in (experiment.train, *experiment.held_out.values()):
            if isinstance(pairs, StoredPairs):
                _log.info("rank %d read %s", world.rank, pairs.traffic)
        return errors


def _fit(
    experiment: Experiment,
    directory: RunDirectory,
    checkpointer: Checkpointer,
    stop: StopSignal,
    world: World,
    stages: Stages,
    stream: Callable[[Experiment], Stream] | None,
    monitor: Monitor,
) -> Trainer:
    """Train from the newest checkpoint on."""
    model, training = experiment.surrogate(), experiment.case.training
    directory.record_ways(world.comm)
    freeze(model, training.freeze)
    if training.pipeline is not None:
        pipeline(model, stages, training.pipeline.micro_batches, training.pipeline.chunks)
    learned = experiment.train if stream is None else stream(experiment)
    trainer = Trainer(model, learned, experiment.validation, training, checkpointer=checkpointer, stop=stop, monitor=monitor)
    if (meaning := experiment.train.meaning) is not None:
        check = lambda saved: Meaning.from_state(saved).check(meaning, same_grid=True)  # noqa: E731
        checkpointer.register("meaning", meaning.to_state, check, required=False)
    restored = checkpointer.restore()
    size, spaces = _size(model), experiment.train.spaces
    samples = "samples from simulations" if stream is not None else f"{experiment.train.num_samples} samples"
    where = f"{len(spaces)} meshes, the first {spaces[0]}" if len(spaces) > 1 else spaces[0]
    _log.info("%s: %s on %s, %d groups, %d parameters", directory.path, samples, where, experiment.train.groups[0], size)
    if restored is None and training.init_from is not None:
        take_over(model, training.init_from, world.comm)
    if restored is not None:
        _log.info("resuming after update %d from %s (%s)", trainer.step, restored.path, restored.level)
    with ExitStack() as stack:
        with together(world.comm, f"opening {directory.path / 'metrics.csv'}"):
            if world.rank == 0:
                metrics = MetricsWriter(directory.path, None if restored is None else trainer.position.told, trainer.position.unwritten)
                trainer.metrics = stack.enter_context(metrics)
        trainer.fit()
    trainer.stream.close()
    return trainer


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
