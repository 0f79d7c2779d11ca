"""PDEBench's layout of incompressible flow, in files ``ns_incom_*.h5``: read, not written."""

from pathlib import Path

import h5py

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.common_times import common_times
from hpcml.io.dataset.description import Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.pdebench_groups import numbers_in
from hpcml.io.dataset.stored_array import StoredArray
from hpcml.io.dataset.variable import Variable

_FIELDS = (Field("velocity", 1), Field("particles"), Field("force", 1, varies_in_time=False))


def _recognises(file: h5py.File) -> bool:
    return "velocity" in file and "particles" in file


def _describe(file: h5py.File) -> tuple[Description, tuple[Variable, ...]]:
    shape = file["velocity"].shape
    if len(shape) != 5:
        raise CheckpointError(f"{file.filename}: /velocity should be (trajectory, time, cells, cells, 2), got shape {shape}")
    trajectories, times, *cells, _ = shape
    variables, first = [], 0
    for entry in _FIELDS:
        count, dataset = len(entry.channels(2)), file[entry.name]
        expected = (trajectories, *[times] * entry.varies_in_time, *cells, count)
        if dataset.shape != expected:
            raise CheckpointError(f"{file.filename}: {dataset.name} should be of shape {expected}, got {dataset.shape}")
        variables.append(Variable(first, count, (StoredArray.of(dataset),), (trajectories,), True, entry.varies_in_time, (True, True)))
        first += count
    description = Description(
        name=Path(file.filename).stem,
        fields=_FIELDS,
        num_trajectories=trajectories,
        times=common_times(file["t"][()], file.filename),
        coordinates=tuple(tuple(i + 0.5 for i in range(n)) for n in cells),  # its generator's box has as many units as cells
        periodic=(None, None),
        constants={name: (value,) for name, value in numbers_in(file).items()},
        located=False,
    )
    return description, tuple(variables)


LAYOUT = Layout("pdebench-incompressible", "PDEBench's incompressible flow (velocity and particles)", _recognises, _describe)
