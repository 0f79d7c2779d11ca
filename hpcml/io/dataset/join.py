"""Files of a folder, one after the other, as one dataset."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset.axis import same_times
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.meaning import Meaning
from hpcml.io.dataset.variable import Variable

Found = tuple[str, Description, tuple[Variable, ...]]
"""Layout, index space and arrays of a file."""


def join(files: Sequence[Path], found: Sequence[Found]) -> Found:
    """Let the trajectories of files that mean the same follow one another; fields are in the order of the first file.

    Raises
    ------
    CheckpointError
        If a file means something else than the first, or stores it in another way.

    Communication
    -------------
    Local.
    """
    layout, space, variables = found[0]
    names = [entry.name for entry in space.fields]
    first, parts = Meaning.of_file(space, names, str(files[0])), []
    for path, (kind, other, own) in zip(files, found, strict=True):
        try:
            first.check(Meaning.of_file(other, names, str(path)), same_grid=True)
        except ConfigError as error:  # no text of the user's is wrong but a file
            raise CheckpointError(str(error)) from None
        arranged = _arranged(space, other, own)
        alike = map(same_times, space.coordinates, other.coordinates)
        if (
            kind != layout
            or not all(alike)
            or other.fingerprint != space.fingerprint
            or list(map(_axes, arranged)) != list(map(_axes, variables))
        ):
            raise CheckpointError(
                f"{path} does not go with {files[0]}: it is of another layout, stores its fields along other axes or has its cells "
                "elsewhere; a folder holds one dataset, on one grid or one mesh"
            )
        parts.append(arranged)
    merged = tuple(
        replace(same[0], arrays=sum((v.arrays for v in same), ()), lengths=sum((v.lengths for v in same), ()))
        for same in zip(*parts, strict=True)
    )
    constants = {name: _per_trajectory(name, found) for name in dict.fromkeys(name for _, each, _ in found for name in each.constants)}
    total = sum(each.num_trajectories for _, each, _ in found)
    return layout, replace(space, num_trajectories=total, constants=constants), merged


def _axes(variable: Variable) -> tuple[object, ...]:
    return variable.first, variable.count, variable.has_trajectory, variable.has_time, variable.dims


def _arranged(space: Description, other: Description, variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """Arrays of the other, for the channels in the order of the first."""
    wanted, found = space.channels, other.channels
    if wanted == found:
        return variables
    if len(variables) == 1:
        order = tuple(found.index(channel) for channel in wanted)
        return (replace(variables[0], arrays=tuple(replace(array, components=order) for array in variables[0].arrays)),)
    return tuple(sorted((replace(v, first=wanted.index(found[v.first])) for v in variables), key=lambda v: v.first))


def _per_trajectory(name: str, found: Sequence[Found]) -> tuple[float, ...]:
    """A constant of all files: one number if they agree, else one for each trajectory, NaN where a file does not have it."""
    parts = [(space.constants.get(name, (math.nan,)), space.num_trajectories) for _, space, _ in found]
    if all(values == parts[0][0] and len(values) == 1 for values, _ in parts):
        return parts[0][0]
    return tuple(number for values, count in parts for number in (values * count if len(values) == 1 else values))
