"""Which layout a file has: asked of each in turn."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import h5py

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.printable import printable
from hpcml.io.dataset import on_mesh, pdebench, pdebench_groups, pdebench_incompressible, the_well
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.join import Found, join
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.files.memory_file import MemoryFile
from hpcml.io.files.regular import shown

VERSION_ATTRIBUTE = "hpcml_dataset_version"
VERSION = 1
"""Of what hpcml adds to the layouts; the layouts themselves have none."""

_KNOWN = (the_well.LAYOUT, pdebench.LAYOUT, pdebench_groups.LAYOUT, pdebench_incompressible.LAYOUT, on_mesh.LAYOUT)

SUFFIXES = (".hdf5", ".h5")
"""Of files that a folder is searched for."""


def create_file(path: Path, layout: str, description: Description, **attributes: str) -> None:
    """Make a file of a layout with all structure and no values yet, and these attributes.

    Raises
    ------
    ConfigError
        If the layout cannot hold such fields, or HDF5 no such names.
    OSError
        Disk full, no permission and the like; no part of the file is there then.

    Communication
    -------------
    Local; one rank makes the file, then all may open it for writing.
    """
    _check_names(description)
    makers = {known.name: known.create for known in _KNOWN if known.create}
    if layout not in makers:
        raise ConfigError(f"there is no layout {layout!r} to write: expected {', '.join(makers)}")
    if isinstance(description, on_mesh.OnMesh) and layout != on_mesh.LAYOUT.name:
        raise ConfigError(f"the layout {layout} holds fields on grids, and these lie on a mesh of {description.num_nodes} nodes: take mesh")
    structure = MemoryFile()
    with h5py.File(structure, "w") as file:
        makers[layout](file, description)
        file.attrs[VERSION_ATTRIBUTE] = VERSION
        file.attrs.update(attributes)
    structure.save(path)


def _check_names(description: Description) -> None:
    """Refuse names that HDF5 would take for paths, or cannot hold."""
    for name in (description.name, *(field.name for field in description.fields), *description.constants):
        if not name or name == "." or "/" in name or "\0" in name or name != name.encode("utf-8", "ignore").decode():
            raise ConfigError(f"nothing in a dataset can be called {name!r}: expected a name in UTF-8 without / and NUL")


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
    files = files_of(path)
    if not files:
        raise CheckpointError(f"the folder {path} holds no *.hdf5 and no *.h5: name a file, or the folder of one split such as data/train")
    return join(files, [_describe_file(file) for file in files])


def files_of(folder: Path) -> list[Path]:
    """Dataset files of a folder in the order of their names: in whatever case the suffix is, and no hidden ones, which other systems leave.

    Raises
    ------
    CheckpointError
        Where one is a symbolic link that another user has put there, which could lead to any file that this user may read.

    Communication
    -------------
    Local.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    for path in found:
        entry = path.lstat()
        if stat.S_ISLNK(entry.st_mode) and entry.st_uid not in (os.geteuid(), 0):
            raise CheckpointError(
                f"{shown(path)} is a symbolic link that user {entry.st_uid} has put there, expected one of this user or of root: make the "
                "link yourself, or name the file that it leads to"
            )
    return found


def _describe_file(path: Path) -> Found:
    with ConfinedFile(path, locking=False) as file:
        version = int(file.attrs.get(VERSION_ATTRIBUTE, VERSION))
        if version > VERSION:
            raise CheckpointError(f"{path} was written by a newer hpcml (version {version}; this one knows {VERSION}): upgrade hpcml")
        for layout in _KNOWN:
            if layout.recognises(file):
                try:
                    return _ascending((layout.name, *layout.describe(file)))
                except KeyError as error:
                    raise CheckpointError(f"{path} is of the layout {layout.name}, but lacks a part of it: {error.args[0]}") from None
        known = ", ".join(layout.shows for layout in _KNOWN)
        raise CheckpointError(f"{path} is of no known layout: expected {known}, got {printable(', '.join(file)) or 'an empty file'}")


def _ascending(found: Found) -> Found:
    """Cells from low to high coordinates along every dim, whichever way the file has them."""
    layout, space, variables = found
    down = tuple(len(centres) > 1 and centres[0] > centres[-1] for centres in space.coordinates)
    if not any(down):
        return found
    coordinates = tuple(centres[::-1] if turned else centres for centres, turned in zip(space.coordinates, down, strict=True))
    return layout, replace(space, coordinates=coordinates), tuple(variable.turned(down) for variable in variables)
