"""Which layout a file has: asked of each in turn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import pdebench, pdebench_groups, pdebench_incompressible, the_well
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.variable import Variable
from hpcml.io.files.confined_file import ConfinedFile

VERSION_ATTRIBUTE = "hpcml_dataset_version"
VERSION = 1
"""Of what hpcml adds to the layouts; the layouts themselves have none."""

_KNOWN = (the_well.LAYOUT, pdebench.LAYOUT, pdebench_groups.LAYOUT, pdebench_incompressible.LAYOUT)

Found = tuple[str, Description, tuple[Variable, ...]]


def create_file(path: Path, layout: str, description: Description) -> None:
    """Make a file of a layout with all structure and no values yet.

    Raises
    ------
    ConfigError
        If the layout cannot hold such fields.

    Communication
    -------------
    Local; one rank makes the file, then all may open it for writing.
    """
    makers = {known.name: known.create for known in _KNOWN if known.create}
    makers[layout](path, description)
    with h5py.File(path, "r+") as file:
        file.attrs[VERSION_ATTRIBUTE] = VERSION


def describe_path(path: Path) -> Found:
    """Layout, index space and arrays of a file, or of all files of a folder, one after the other.

    Raises
    ------
    CheckpointError
        If there is none, the layout is not known, or files of a folder do not fit together.
    OSError, KeyError
        From h5py, for damaged files.

    Communication
    -------------
    Local.
    """
    if not path.exists():
        raise CheckpointError(f"there is no dataset {path}: a path is relative to where the command runs")
    if not path.is_dir():
        return _describe_file(path)
    files = sorted([*path.glob("*.hdf5"), *path.glob("*.h5")])
    if not files:
        raise CheckpointError(f"the folder {path} holds no *.hdf5 and no *.h5: name a file, or the folder of one split such as data/train")
    return _joined(files, [_describe_file(file) for file in files])


def _describe_file(path: Path) -> Found:
    with ConfinedFile(path, locking=False) as file:
        version = int(file.attrs.get(VERSION_ATTRIBUTE, VERSION))
        if version > VERSION:
            raise CheckpointError(f"{path} was written by a newer hpcml (version {version}; this one knows {VERSION}): upgrade hpcml")
        for layout in _KNOWN:
            if layout.recognises(file):
                try:
                    return layout.name, *layout.describe(file)
                except KeyError as error:
                    raise CheckpointError(f"{path} is of the layout {layout.name}, but lacks a part of it: {error.args[0]}") from None
        known = ", ".join(layout.shows for layout in _KNOWN)
        raise CheckpointError(f"{path} is of no known layout: expected {known}, got {', '.join(file) or 'an empty file'}")


def _joined(files: Sequence[Path], found: Sequence[Found]) -> Found:
    layout, space, variables = found[0]
    total = sum(entry.num_trajectories for _, entry, _ in found)
    for path, each in zip(files, found, strict=True):
        if _form(each) != _form(found[0]):
            raise CheckpointError(f"{path} does not go with {files[0]}: its fields, times or grid differ; a folder holds one dataset")
    merged = tuple(
        replace(first, arrays=sum((v.arrays for v in parts), ()), lengths=sum((v.lengths for v in parts), ()))
        for first, parts in zip(variables, zip(*(v for _, _, v in found), strict=True), strict=True)
    )
    constants = {name: _per_trajectory(name, found) for name in space.constants}
    return layout, replace(space, num_trajectories=total, constants=constants), merged


def _form(found: Found) -> tuple[object, ...]:
    """What must be the same in all files of a folder."""
    layout, space, variables = found
    axes = [(v.first, v.count, v.has_trajectory, v.has_time, v.dims) for v in variables]
    return layout, space.fields, space.num_times, space.grid_shape, axes


def _per_trajectory(name: str, found: Sequence[Found]) -> tuple[float, ...]:
    """A constant of all files: one number if they agree, else one for each trajectory."""
    parts = [(space.constants.get(name, (float("nan"),)), space.num_trajectories) for _, space, _ in found]
    if all(values == parts[0][0] and len(values) == 1 for values, _ in parts):
        return parts[0][0]
    return tuple(number for values, count in parts for number in (values * count if len(values) == 1 else values))
