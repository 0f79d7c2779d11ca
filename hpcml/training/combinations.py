"""What cannot be trained together, told before anything is computed."""

from mpi4py import MPI
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.core.training_table import Training
from hpcml.data.samples import Samples
from hpcml.data.stream import Stream
from hpcml.graphs.stale import Stale
from hpcml.models.layers.keyed import Keyed
from hpcml.training.pipelining import pipelined_in


def training_comm(model: nn.Module, data: Samples | Stream, spec: Training) -> MPI.Intracomm:
    """All ranks of a training, those of all stages of a pipeline among them.

    Raises
    ------
    ConfigError
        For a pipeline that is asked for and not there, or for several meshes, or whose chunks are to be gone on from; for stale ghosts of
        groups of ranks or of several meshes; for layers that draw numbers call by call where groups do not make the same calls.

    Communication
    -------------
    Local; alike on all ranks.
    """
    pipelined = pipelined_in(model)
    if spec.pipeline is not None and pipelined is None:
        raise ConfigError("training.pipeline wants a model that hpcml.training.pipeline has cut into stages, see there")
    if pipelined is not None and pipelined.has_chunks and spec.steps > 1:
        raise ConfigError(f"chunks remember one step of each sample, and training.steps = {spec.steps}: leave one of them out")
    if isinstance(data, Samples):
        several, groups = len(data.spaces) > 1, data.groups[0] > 1
        if several and pipelined is not None:
            raise ConfigError("the stages of a pipeline lie on one mesh, and the data on several: leave training.pipeline out")
        if (several or groups) and isinstance(getattr(data.space, "schedule", None), Stale):
            raise ConfigError("stale ghosts are remembered for one mesh and one group of ranks: leave ranks.schedule or ranks.data out")
        if groups and (several or pipelined is not None) and any(isinstance(part, Keyed) for part in model.modules()):
            raise ConfigError(
                "a layer that draws random numbers (dropout, adaptive slices) counts its calls, and groups of ranks with other meshes or "
                "other numbers of micro-batches call it unequally often: leave the layer or ranks.data out"
            )
    return data.world_comm if pipelined is None else pipelined.stages.world
