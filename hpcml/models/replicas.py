"""Parameters are replicas: every rank holds the same bits, made so by one rank's values, and compared by checksums."""

from collections import Counter

import numpy as np
import torch
from isal import isal_zlib
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.spaces import spaces_of
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_min
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.space import Space


@named_call
def broadcast_parameters(module: nn.Module, comm: MPI.Intracomm | None = None) -> None:
    """Give every rank the parameters and buffers of rank 0.

    Layers do so when they are made. Call it after whatever draws random numbers or changes values later on: `torch.nn.init`, a
    parametrisation such as `torch.nn.utils.parametrizations.spectral_norm`, a state dict that only one rank has read.

    Parameters
    ----------
    module : Module
        Of the same parameters and buffers on every rank.
    comm : MPI.Intracomm, optional
        The ranks; default ``world_comm`` of the first space in the module.

    Raises
    ------
    ConfigError
        If there is no space and no comm.

    Communication
    -------------
    Collective over comm: one broadcast per parameter and buffer.
    """
    share_parameters(module, _ranks_of(module, comm))


@named_call
def check_parameters(module: nn.Module, comm: MPI.Intracomm | None = None) -> None:
    """Make sure that all ranks hold the same bits in every parameter and buffer.

    Parameters
    ----------
    module : Module
        Whose tensors are compared.
    comm : MPI.Intracomm, optional
        The ranks; default ``world_comm`` of the first space in the module.

    Raises
    ------
    CommunicationError
        On every rank, with the name of the first one that differs.
    ConfigError
        If there is no space and no comm.

    Communication
    -------------
    Collective over comm: one all-reduce of two numbers; if something differs, an all-gather of names.

    Notes
    -----
    A checksum passes over every parameter once, at some gigabytes per second. `hpcml.training.trainer.Trainer` compares at its start and
    every `hpcml.training.trainer.COMPARE_EVERY` updates, a network of `hpcml.models` at its first call.
    """
    found = drifted(module, _ranks_of(module, comm))
    if found:
        name, where = next(iter(found.items()))
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise CommunicationError(
            f"ranks hold different values of the same parameters: {name} {where}{more}: after changing values, call "
            "hpcml.broadcast_parameters(model) on every rank"
        )


def drifted(module: nn.Module, comm: MPI.Intracomm) -> dict[str, str]:
    """Parameters and buffers that are not the same bits on all ranks, and on which ranks.

    Communication
    -------------
    Collective over comm: one all-reduce of two numbers; if something differs, an all-gather of names.
    """
    return _differing(dict([*module.named_parameters(), *module.named_buffers()]), comm)


def _differing(values: dict[str, Tensor], comm: MPI.Intracomm) -> dict[str, str]:
    if comm.size == 1:
        return {}
    own = {name: _checksum(name, value) for name, value in values.items()}
    total = isal_zlib.crc32(repr(sorted(own.items())).encode())
    lowest, highest = all_min(np.array([total, -total]), comm)
    if lowest == -highest:
        return {}
    every = patient(comm).allgather(own)
    names = dict.fromkeys(name for sums in every for name in sums)
    return {name: where for name in names if (where := _minority([sums.get(name) for sums in every]))}


@uncompiled
def compare_at_first_use(module: nn.Module, comm: MPI.Intracomm) -> None:
    """`check_parameters`, once in the life of a network, at the first call that is not made by `torch.func`.

    Communication
    -------------
    At the first call that of `check_parameters`, then none.
    """
    transformed = torch._C._functorch.maybe_current_level() is not None  # parameters are then those of `torch.func`, without memory
    if not transformed and not getattr(module, "_compared", False):
        module._compared = True  # type: ignore[assignment]
        check_parameters(module, comm)


class Replicated(nn.Module):
    """Any torch module that computes on whole fields, in groups of one rank that share a batch.

    Parameters
    ----------
    network : Module
        Made alike on every rank.
    comm : MPI.Intracomm
        The ranks; they get the parameters of rank 0.

    Communication
    -------------
    Collective over comm. Made: one broadcast per parameter and buffer. Forward: none. Backward: one all-reduce per precision.
    """

    def __init__(self, network: nn.Module, comm: MPI.Intracomm) -> None:
        super().__init__()
        self.network, self._comm = network, comm
        share_parameters(network, comm)

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives."""
        with replicated_together(self.network, self._comm):
            y: Tensor = self.network(x)
            return y


def check_gradients(module: nn.Module, comm: MPI.Intracomm) -> None:
    """Make sure that all ranks hold the same gradients, as the layers of `hpcml.models` give them.

    Raises
    ------
    ConfigError
        On every rank, with the name of the first parameter whose gradient differs.

    Communication
    -------------
    As `check_parameters`.
    """
    found = _differing({name: value.grad for name, value in module.named_parameters() if value.grad is not None}, comm)
    if found:
        name, where = next(iter(found.items()))
        raise ConfigError(
            f"ranks hold different gradients of the same parameter: {name} {where}: it is used outside the layers of hpcml.models, so "
            "nobody summed its gradient; use hpcml.parallel.replicated(space.world_comm, parameter)[0] in its place"
        )


def check_same_bits(module: nn.Module, space: Space) -> None:
    """Make sure that all that a module learns is in layers that have the same bits on any number of ranks, if its space is to have them.

    Raises
    ------
    ConfigError
        On every rank, with the name of the first parameter that is not.

    Communication
    -------------
    Local.
    """
    if space.tiles is not None and (found := _outside_of_tiles(module)):
        raise ConfigError(
            f"the parameter {found} belongs to no layer that has the same bits on any number of ranks, and the space was made with "
            "same_bits=True: put modules on points into hpcml.models.layers.Pointwise(space, module), or leave same_bits out"
        )


def _outside_of_tiles(module: nn.Module, prefix: str = "") -> str:
    """Name of the first parameter that learns outside of layers with the same bits; empty if there is none."""
    if getattr(module, "same_bits", False):
        return ""
    own = (f"{prefix}{name}" for name, value in module.named_parameters(recurse=False) if value.requires_grad)
    inner = (_outside_of_tiles(part, f"{prefix}{name}.") for name, part in module.named_children())
    return next(own, "") or next(filter(None, inner), "")


def _ranks_of(module: nn.Module, comm: MPI.Intracomm | None) -> MPI.Intracomm:
    if comm is not None:
        return comm
    space = next(iter(spaces_of(module)), None)
    if space is None:
        raise ConfigError(f"{type(module).__name__} has no space that says which ranks share its parameters: pass comm=")
    return space.world_comm


def _checksum(name: str, value: Tensor) -> int:
    bits = value.detach().resolve_conj().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return isal_zlib.crc32(bits, isal_zlib.crc32(f"{name} {tuple(value.shape)} {value.dtype}".encode()))


def _minority(sums: list[int | None]) -> str:
    """Which ranks do not hold what most hold; empty if all are alike."""
    (common, _), *others = Counter(sums).most_common()
    ranks = [rank for rank, own in enumerate(sums) if own != common]
    return f"on {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))} of {len(sums)}" if others else ""
