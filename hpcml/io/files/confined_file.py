"""HDF5 files that are read without leaving the folder that was given: what they refer to elsewhere is an error, not followed."""

import math
import os
import stat
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5s

from hpcml.core.errors import CheckpointError
from hpcml.io.files.remedy import reason

VARIABLE = "HPCML_LINKED_FOLDERS"
"""Names further folders, joined by ``:``, that the links of files may lead to."""
_MOST_LINKS = 16  # as many as HDF5 itself follows for one name
_MOST_NESTED = 8


class ConfinedGroup(h5py.Group):  # type: ignore[misc]
    """A group whose members are found link by link: soft links within the file, external ones within the folder. Made by `ConfinedFile`."""

    home: "ConfinedFile"
    """File that the group lies in."""

    def __getitem__(self, name: str) -> Any:
        home, found = self.home.find(self.id, name, _MOST_LINKS)
        if isinstance(found, h5g.GroupID):
            group = ConfinedGroup(found)
            group.home = home
            return group
        if isinstance(found, h5d.DatasetID):
            dataset = ConfinedDataset(found)
            dataset.home = home
            return dataset
        return h5py.Datatype(found)

    def numbers(self, name: str) -> "ConfinedDataset":
        """Member of that name, which must be an array of real numbers.

        Raises
        ------
        KeyError
            Where there is none.
        CheckpointError
            Where it is something else.

        Communication
        -------------
        Local.
        """
        found = self[name]
        if not isinstance(found, ConfinedDataset):
            what = "a group" if isinstance(found, ConfinedGroup) else "a type"
            raise CheckpointError(f"{self.home.path}: expected an array of numbers at {name}, got {what}")
        if found.shape is None or found.dtype.kind not in "fiub":
            what = "nothing" if found.shape is None else f"elements of {found.dtype}"
            raise CheckpointError(f"{self.home.path}: expected an array of numbers at {name}, got {what}")
        return found

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def get(self, name: str, default: Any = None, *rest: Any, **kind: Any) -> Any:
        """Member of that name, or the default."""
        try:
            return self[name]
        except KeyError:
            return default


class ConfinedDataset(h5py.Dataset):  # type: ignore[misc]
    """An array that is read once it is known where its values come from."""

    home: "ConfinedFile"
    _checked = False

    def __getitem__(self, *arguments: Any, **options: Any) -> Any:
        self.check_sources()
        return super().__getitem__(*arguments, **options)

    def read_direct(self, *arguments: Any, **options: Any) -> None:
        """Read into an array, see h5py."""
        self.check_sources()
        super().read_direct(*arguments, **options)

    def check_sources(self, nested: int = 0) -> None:
        """See that all values are in this file, or in whole files of the folder.

        Raises
        ------
        CheckpointError
            For values in files outside, and for a virtual array with a source that is missing or too small, where HDF5 gives zeros.

        Communication
        -------------
        Local; each source is opened once.
        """
        if self._checked:
            return
        where = f"{self.home.path}: {self.name}"
        if self.external is not None:
            raise CheckpointError(
                f"{where} keeps its values in another file, {self.external[0][0]}, which is not read: h5repack writes all into one file"
            )
        if self.is_virtual:
            if nested == _MOST_NESTED:
                raise CheckpointError(f"{where} is a virtual array of virtual arrays, more than {_MOST_NESTED} deep or in a circle")
            try:
                self._check_virtual(where, nested)
            except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
                if isinstance(error, CheckpointError):
                    raise
                raise CheckpointError(f"{where} is a virtual array of which a source cannot be read: {reason(error)}") from None
        self._checked = True

    def _check_virtual(self, where: str, nested: int) -> None:
        if None in self.maxshape:
            raise CheckpointError(f"{where} is a virtual array without end, or with a pattern for its sources: write it anew with a list")
        mapped, needs = 0, dict[tuple[str, str], list[Any]]()
        for source in self.virtual_sources():
            mapped += source.vspace.get_select_npoints()
            whole = source.src_space.get_select_type() == h5s.SEL_ALL
            need = source.vspace.get_select_npoints() if whole else source.src_space.get_select_bounds()[1]
            needs.setdefault((source.file_name, source.dset_name), []).append(need)
        if mapped < self.size:
            raise CheckpointError(f"{where} is a virtual array with sources for {mapped} of its {self.size} values: write it anew")
        for (file_name, name), wanted in needs.items():
            with self.home.sibling(file_name.replace("%%", "%")) as file:  # a percent sign could begin a pattern
                dataset = file[name.replace("%%", "%")]
                if not all(_holds(dataset.shape, need) for need in wanted):
                    raise CheckpointError(f"{where} takes more values from {name} of {file_name} than its shape {dataset.shape} has")
                dataset.check_sources(nested + 1)


class ConfinedFile(ConfinedGroup, h5py.File):  # type: ignore[misc]
    """An HDF5 file, open for reading, that leads nowhere outside its folder; used as ``h5py.File(path, "r")``.

    External links are followed, and virtual arrays read, where they lead to files of the folder, symbolic links resolved. External storage
    is not read at all.

    Parameters
    ----------
    path : str or path
        The file.
    folder : str or path, optional
        The folder that the user named, which the file itself must lie in then; by default that of the file.
    private : bool
        Read through Python: HDF5 would refuse a file that this process has open in another mode.
    options
        Further keywords of `h5py.File`.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    folders : tuple of pathlib.Path
        Where it may lead to; ``$HPCML_LINKED_FOLDERS`` adds to them.

    Raises
    ------
    CheckpointError
        When opened: no regular file, or one outside the folder. When members or values are asked for: they are elsewhere.
    OSError, KeyError, RuntimeError, TypeError, ValueError
        From HDF5, for what is missing or damaged.

    Communication
    -------------
    Local.
    """

    def __init__(
        self, path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None, private: bool = False, **options: Any
    ) -> None:
        self.path, real = Path(path), _real(path)
        if not stat.S_ISREG(self.path.stat().st_mode):  # opening a pipe would wait for its writer
            raise CheckpointError(f"{path} is no regular file: expected an HDF5 file")
        self.folders = tuple({_real(self.path.parent), real.parent}) if folder is None else (_real(folder),)
        self.folders += tuple(_real(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry)
        if folder is not None:
            self._check_inside(real, f"{path} is a link to {real}")
        self.home, self._siblings, self._options = self, dict[str, ConfinedFile](), options
        self._raw = self.path.open("rb") if private else None
        super().__init__(self._raw or self.path, "r", **options)

    def close(self) -> None:
        """Close this file and those that it led to."""
        while self._siblings:
            self._siblings.popitem()[1].close()
        super().close()
        if self._raw is not None:
            self._raw.close()

    def find(self, start: Any, name: str, links: int) -> tuple["ConfinedFile", Any]:
        """The file in which an object lies, and its identifier, by its name from a group or from the root.

        Raises
        ------
        KeyError
            Where there is no such object.
        CheckpointError
            Where links lead outside, or in a circle.

        Communication
        -------------
        Local.
        """
        home, here = self, self.id if name.startswith("/") else start
        for part in (part for part in name.split("/") if part not in ("", ".")):
            encoded = part.encode("utf-8", "surrogateescape")
            if not isinstance(here, h5g.GroupID) or not here.links.exists(encoded):
                raise KeyError(f"{name} is not in {home.path}")
            kind = here.links.get_info(encoded).type
            if kind == h5l.TYPE_HARD:
                here = h5o.open(here, encoded)
                continue
            if links == 0:
                raise CheckpointError(f"{home.path}: {name} is behind more than {_MOST_LINKS} links, or links in a circle")
            links -= 1
            if kind == h5l.TYPE_SOFT:
                target = here.links.get_val(encoded)
            elif kind == h5l.TYPE_EXTERNAL:
                file, target = here.links.get_val(encoded)
                home = home.linked(os.fsdecode(file))
                here = home.id
            else:
                raise CheckpointError(f"{home.path}: {name} is a link of a kind that is not read")
            home, here = home.find(here, target.decode("utf-8", "surrogateescape"), links)
        return home, here

    def linked(self, name: str) -> "ConfinedFile":
        """The file that external links of this one lead to by a name, open as long as this one; errors are those of `sibling`."""
        if name not in self._siblings:
            self._siblings[name] = self.sibling(name)
        return self._siblings[name]

    def sibling(self, name: str) -> "ConfinedFile":
        """Open a file that this one refers to by name, as HDF5 would.

        Raises
        ------
        CheckpointError
            Where it is missing or outside the folder.

        Communication
        -------------
        Local.
        """
        real = _real(self.path)
        target = real if name == "." else real.parent / name
        if not target.exists():
            target = real.parent / target.name  # of an absolute name that is nowhere, HDF5 takes the last part
        target = _real(target)
        self._check_inside(target, f"{self.path} refers to {name}")
        if not target.exists():
            raise CheckpointError(f"{self.path} refers to {name}, which is missing: put it into {real.parent}")
        file = ConfinedFile(target, **self._options)
        file.folders = self.folders
        return file

    def _check_inside(self, target: Path, what: str) -> None:
        if not any(target.is_relative_to(folder) for folder in self.folders):
            raise CheckpointError(
                f"{what}, outside {self.folders[0]}: it is not followed; copy it there, or allow it with {VARIABLE}={target.parent}"
            )


def _holds(shape: tuple[int, ...], need: int | tuple[int, ...]) -> bool:
    """Whether an array has as many values, or the one at an index."""
    if isinstance(need, int):
        return math.prod(shape) >= need
    return len(shape) == len(need) and all(index < size for index, size in zip(need, shape, strict=True))


def _real(path: str | os.PathLike[str]) -> Path:
    """The path without symbolic links; unlike `Path.resolve` it gives an answer where links go in a circle."""
    return Path(os.path.realpath(path))
