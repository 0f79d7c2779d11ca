"""Pairs of fields from ``.pt`` and ``.npz`` files: every rank maps the file and reads its own block."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core import case
from hpcml.core.errors import ConfigError, HpcmlError, TrainingError
from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.mpi.agreement import agree_on_error
from hpcml.training.dataset import Pairs


def read_pairs(
    path: str | Path, spec: case.Tensors, grid: case.Grid | None, ranks: case.Ranks, comm: MPI.Intracomm, dtype: torch.dtype
) -> Pairs:
    """Read a file of pairs and deal its grid to the ranks.

    Parameters
    ----------
    path : str or Path
        A mapping of names to tensors (``torch.save``) or arrays (``numpy.savez``), each (sample, *grid) or (sample, channel, *grid).
    spec : hpcml.core.case.Tensors
        Names the inputs and the targets.
    grid : hpcml.core.case.Grid, optional
        Says the extent, which dims are periodic and, by its number of dims, where channels are. By default there are no
        channels, the box is the unit box and nothing is periodic.
    ranks : hpcml.core.case.Ranks
        Process grid.
    comm : MPI.Intracomm
        All ranks.
    dtype : torch.dtype
        Of the fields in memory.

    Raises
    ------
    ConfigError, TrainingError
        On every rank: no such file or name, shapes that do not fit, or values that are not finite, saying how many and where the first is.

    Communication
    -------------
    Collective over comm, to agree on errors only.
    """
    found: tuple[Tensor, Tensor] | None = None
    error: Exception | None = None
    try:
        found = _arrays(Path(path), spec)
    except HpcmlError as caught:
        error = caught
    agree_on_error(error, comm)
    assert found is not None
    num_dims = found[0].dim() - 1 if grid is None else len(grid.shape)
    inputs, targets = (_with_channel(t, num_dims, path) for t in found)
    domain = domain_of(tuple(inputs.shape[2:]), grid, ranks, comm)
    pairs = Pairs(domain, inputs[domain.index].to(dtype).contiguous(), targets[domain.index].to(dtype).contiguous())
    agree_on_error(_not_finite(pairs, path), comm)
    return pairs


def domain_of(shape: tuple[int, ...], grid: case.Grid | None, ranks: case.Ranks, comm: MPI.Intracomm) -> Domain:
    """Domain of a case, at the resolution given."""
    box = Grid(shape, 1.0, False) if grid is None else Grid(shape, grid.extent, grid.periodic)
    return decompose(box, comm, None if ranks.domain == "auto" else ranks.domain, ranks.data)


def _arrays(path: Path, spec: case.Tensors) -> tuple[Tensor, Tensor]:
    if not path.exists():
        raise ConfigError(f"there is no file {path}: data.train and data.test are relative to where the command runs")
    try:
        content: Mapping[str, Tensor | np.ndarray]
        content = np.load(path) if path.suffix == ".npz" else torch.load(path, mmap=True, weights_only=True)
        names = list(content)
        chosen = [content[name] for name in (spec.input, spec.target)]
    except KeyError as error:
        raise ConfigError(f"{path} has no {error}: it holds {', '.join(names)}; name them in data.input and data.target") from None
    except Exception as error:  # what a damaged or foreign file raises is up to its reader
        raise ConfigError(f"cannot read {path} as .pt or .npz: {type(error).__name__}: {error}") from None
    x, y = (torch.as_tensor(t) for t in chosen)
    if x.shape[0] != y.shape[0] or x.dim() < 2:
        raise ConfigError(
            f"{path}: inputs {tuple(x.shape)} and targets {tuple(y.shape)} are not (sample, [channel,] *grid) of as many samples"
        )
    return x, y


def _with_channel(field: Tensor, num_dims: int, path: str | Path) -> Tensor:
    if field.dim() == num_dims + 1:
        return field.unsqueeze(1)
    if field.dim() == num_dims + 2:
        return field
    raise ConfigError(f"{path}: a field of shape {tuple(field.shape)} is not (sample, [channel,] *grid) for a grid of {num_dims} dims")


def _not_finite(pairs: Pairs, path: str | Path) -> TrainingError | None:
    for name, field in (("inputs", pairs.inputs), ("targets", pairs.targets)):
        bad = (~torch.isfinite(field)).nonzero()
        if len(bad):
            sample, channel, *cell = bad[0].tolist()
            cell = [c + r.start for c, r in zip(cell, pairs.domain.block, strict=True)]
            return TrainingError(
                f"{path}: {len(bad)} values of the {name} are not finite, "
                f"the first in sample {sample}, channel {channel}, cell {tuple(cell)}: mend the data"
            )
    return None
