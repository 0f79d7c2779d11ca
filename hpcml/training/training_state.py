"""What a checkpoint of a training holds, and the folder that a training of a script's own keeps it in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hpcml.graphs.graph import Graph
from hpcml.graphs.stale import Stale
from hpcml.io.checkpoint import Checkpointer
from hpcml.io.files.agree import together
from hpcml.mpi import Monitor, StopSignal
from hpcml.training.metrics import MetricsWriter
from hpcml.training.position import Position

if TYPE_CHECKING:
    from hpcml.training.trainer import Trainer


def register(trainer: "Trainer", checkpointer: Checkpointer) -> None:
    """Make everything that a training goes on from part of every checkpoint; torch's random stream is registered by `Saves`.

    Communication
    -------------
    Local.
    """

    def go_on_from(saved: dict[str, Any]) -> None:
        trainer.position = Position.of_state(saved, trainer.stream.num_updates)
        if "epoch" in saved:  # of version 0.1, which knew stored data only
            trainer.stream.load_state_dict(saved)

    checkpointer.register("model", lambda: _state(trainer.model), trainer.model.load_state_dict)
    checkpointer.register("optimiser", trainer.optimiser.state_dict, trainer.optimiser.load_state_dict)
    checkpointer.register("position", lambda: asdict(trainer.position), go_on_from)
    checkpointer.register("early_end", trainer.early_end.state_dict, trainer.early_end.load_state_dict, required=False)
    checkpointer.register("stream", trainer.stream.state_dict, trainer.stream.load_state_dict, required=False)
    if isinstance(graph := trainer.space, Graph) and isinstance(schedule := graph.schedule, Stale):
        go_on = partial(schedule.load_state_dict, graph=graph)
        checkpointer.register("schedule", partial(schedule.state_dict, graph), go_on, required=False)
    if trainer.average is not None:
        checkpointer.register("average", trainer.average.state_dict, trainer.average.load_state_dict)
    if (scaler := trainer.update.scaler).is_enabled():
        checkpointer.register("scale", scaler.state_dict, scaler.load_state_dict, required=False)


@contextmanager
def opened(trainer: "Trainer", folder: Path) -> Iterator[None]:
    """Go on from what a run directory holds, and save there while the block runs.

    Communication
    -------------
    Collective over the ranks of the training.
    """
    comm = trainer.comm
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal(comm))
        trainer.keep(stack.enter_context(Checkpointer(folder / "checkpoints", comm, lazy=True)), stop)
        stack.callback(trainer.keep, None, None)
        assert trainer.checkpointer is not None
        restored = trainer.checkpointer.restore()
        with together(comm, f"opening {folder / 'metrics.csv'}"):
            if comm.rank == 0:
                trainer.metrics = stack.enter_context(
                    MetricsWriter(folder, None if restored is None else trainer.position.told, trainer.position.unwritten)
                )
        trainer.monitor = stack.enter_context(Monitor(comm))
        try:
            yield
        finally:
            trainer.metrics = None


def finish_rows(trainer: "Trainer") -> None:
    """See that every row of metrics is in its file.

    Raises
    ------
    CheckpointError
        On every rank, where the disk still refuses some.

    Communication
    -------------
    Collective over the ranks of the training.
    """
    with together(trainer.comm, "writing metrics.csv"):
        if trainer.metrics is not None:
            trainer.metrics.finish()


def _state(model: nn.Module) -> dict[str, Any]:
    """State dict; buffers, which a forward pass may change while a lazy copy is taken, are copied now."""
    buffers = dict(model.named_buffers())
    return {name: value.clone() if name in buffers else value for name, value in model.state_dict().items()}
