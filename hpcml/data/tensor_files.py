"""Pairs of fields from ``.pt``, ``.npz`` and ``.mat`` files: every rank maps the file and reads its own block."""

import math
from pathlib import Path

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core import case
from hpcml.core.errors import ConfigError, HpcmlError, TrainingError
from hpcml.data.case_device import case_device
from hpcml.data.grid_axes import grid_axes
from hpcml.data.order_of_dims import check_order_of_dims
from hpcml.data.samples import Pairs
from hpcml.data.tensor_reader import read_tensors
from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.io.dataset import Field, Meaning
from hpcml.mpi.agreement import agree_on_error


def read_pairs(
    path: str | Path,
    spec: case.Tensors,
    grid: case.Grid | None,
    ranks: case.Ranks,
    comm: MPI.Intracomm,
    dtype: torch.dtype,
    like: Meaning | None = None,
) -> Pairs:
    """Read a file of pairs and deal its grid to the ranks.

    Parameters
    ----------
    path : str or Path
        A file that `read_tensors` reads, with arrays of real numbers, each (sample, *grid) or (sample, channel, *grid).
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
    like : Meaning, optional
        What the file must mean, at whatever resolution; by default it is on the grid of the case, if there is one.

    Raises
    ------
    ConfigError, TrainingError
        On every rank: no such file or name, shapes that do not fit, another meaning, no samples, or values that are not finite, saying how
        many and where the first is.

    Communication
    -------------
    Collective over comm, to agree on errors only.
    """
    found: tuple[Tensor, Tensor] | None = None
    error: Exception | None = None
    try:
        found = _fields(Path(path), spec, grid)
        if like is None and grid is not None and tuple(found[0].shape[2:]) != grid.shape:
            raise ConfigError(
                f"{path} is on a grid of {tuple(found[0].shape[2:])} cells, which does not go with grid.shape = {list(grid.shape)}: "
                "say the cells of the training data there"
            )
    except HpcmlError as caught:
        error = caught
    agree_on_error(error, comm)
    assert found is not None
    inputs, targets = found
    domain = domain_of(tuple(inputs.shape[2:]), grid, ranks, comm)
    meaning = Meaning(_names(spec.input, inputs), _names(spec.target, targets), grid_axes(domain.grid), (), source=str(path))
    if like is not None:
        like.check(meaning)
        check_order_of_dims(like, domain.global_shape, str(path))
    blocks = [field[domain.index] for field in found]
    x, y = narrow = [block.to(dtype).contiguous() for block in blocks]
    for kind, name, *block in zip(("inputs", "targets"), (spec.input, spec.target), blocks, narrow, strict=True):
        agree_on_error(_not_finite(f"{path}: {{}} values of the {kind}", name, domain, *block), comm)
    return Pairs(domain, x, y, meaning)


def domain_of(shape: tuple[int, ...], grid: case.Grid | None, ranks: case.Ranks, comm: MPI.Intracomm) -> Domain:
    """Domain of a case, at the resolution and on the device given."""
    if ranks.schedule != "synchronous":
        raise ConfigError(f"ranks.schedule = '{ranks.schedule}' is for data on a mesh, and these lie on a grid: leave it out")
    box = Grid(shape, 1.0, False) if grid is None else Grid(shape, grid.extent, grid.periodic)
    dims = None if ranks.domain == "auto" else ranks.domain
    return decompose(box, comm, dims, ranks.data, case_device(ranks, comm), ranks.same_bits)


def _fields(path: Path, spec: case.Tensors, grid: case.Grid | None) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (sample, channel, *grid), of as many samples on one grid."""
    found = dict(zip(("inputs", "targets"), read_tensors(path, (spec.input, spec.target)), strict=True))
    shapes = " and ".join(f"{name} {tuple(field.shape)}" for name, field in found.items())
    x, y = found.values()
    num_dims = x.dim() - 1 if grid is None else len(grid.shape)
    if min(x.dim(), y.dim()) < 2 or x.shape[0] != y.shape[0]:
        raise ConfigError(f"{path}: {shapes} are not (sample, [channel,] *grid) of as many samples")
    for name, field in found.items():
        if field.dim() not in (num_dims + 1, num_dims + 2):
            raise ConfigError(
                f"{path}: {name} of shape {tuple(field.shape)} are not (sample, [channel,] *grid) for a grid of {num_dims} dims: where "
                "there are channels, give the table [grid], whose dims tell them from the grid's"
            )
    x, y = (field.unsqueeze(1) if field.dim() == num_dims + 1 else field for field in (x, y))
    if x.shape[2:] != y.shape[2:]:
        raise ConfigError(
            f"{path}: {shapes} are on different grids, {tuple(x.shape[2:])} and {tuple(y.shape[2:])}: bring both to the cells of one"
        )
    if 0 in (*x.shape, y.shape[1]):
        raise ConfigError(f"{path} is empty: {shapes} hold no values")
    return x, y


def _names(name: str, field: Tensor) -> tuple[Field, ...]:
    """A field for each channel."""
    count = field.shape[1]
    return tuple(Field(name if count == 1 else f"{name}_{channel}") for channel in range(count))


def _not_finite(what: str, name: str, domain: Domain, stored: Tensor, field: Tensor) -> TrainingError | None:
    bad = (~torch.isfinite(field)).nonzero()
    if not len(bad):
        return None
    sample, channel, *cell = first = tuple(bad[0].tolist())
    place = tuple(c + r.start for c, r in zip(cell, domain.block, strict=True))
    value = stored[first].item()
    remedy = "mend the data"
    if math.isfinite(value):
        remedy = f"{value:g} has no room in {str(field.dtype)[6:]}, so set training.dtype = 'float64' or choose another unit"
    return TrainingError(
        f"{what.format(len(bad))} are not finite, the first in sample {sample}, channel {channel}, cell {place} of {name}: {remedy}"
    )
