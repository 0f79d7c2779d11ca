"""The file that ParaView and VisIt open: which part of the view is which time step."""

import errno
import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from hpcml.core.regular import open_regular
from hpcml.io.files.replace import write_file
from hpcml.io.snapshot.field import Field
from hpcml.io.snapshot.series import Series

_HEAD = '<?xml version="1.0"?>\n<Xdmf Version="2.0"><Domain>\n<Grid Name="snapshots" GridType="Collection" CollectionType="Temporal">\n'
_TAIL = b"</Grid>\n</Domain></Xdmf>\n"


class XdmfFile:
    """Grows by one step at a time and is whole after each: a step and the closing tags are one write over the old closing tags.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced.
    view : str
        Name of the HDF5 file beside it.
    series : Series
        What it shows.
    times : sequence of float
        Time of the steps that are there already.

    Raises
    ------
    OSError
        Where the file cannot be written; what it showed before is then shown still.

    Communication
    -------------
    Local; for one rank.
    """

    def __init__(self, path: Path, view: str, series: Series, times: Sequence[float]) -> None:
        self._path, self._view, self._series = path, escape(view), series
        head = _HEAD + "".join(self._step(step, time) for step, time in enumerate(times))
        write_file(path, head.encode() + _TAIL, durable=False)
        self._end = len(head.encode())

    def extend(self, step: int, time: float) -> None:
        """Show one more step."""
        text = self._step(step, time).encode()
        descriptor = open_regular(self._path, os.O_WRONLY)
        try:
            whole = os.pwrite(descriptor, text + _TAIL, self._end) == len(text + _TAIL)
            if not whole:
                os.pwrite(descriptor, _TAIL, self._end)
                os.ftruncate(descriptor, self._end + len(_TAIL))
                raise OSError(errno.ENOSPC, os.strerror(28), str(self._path))
        finally:
            os.close(descriptor)
        self._end += len(text)

    def _step(self, step: int, time: float) -> str:
        """A grid with all fields; where points move, grids side by side, one for all fields of a sample that have the same points."""
        stamp, fixed = f'<Time Value="{float(time)!r}"/>', [field for field in self._series.fields if not field.coordinates]
        attributes = "".join(self._attribute(step, field, *which) for field in fixed for which in _indices(field))
        grid = f"{self._series.geometry.xdmf(self._view)}\n{attributes}</Grid>\n"
        if len(fixed) == len(self._series.fields):
            return f'<Grid GridType="Uniform">{stamp}{grid}'
        grids = f'<Grid Name="points" GridType="Uniform">{grid}' if fixed else ""
        by_points: dict[tuple[tuple[str, ...], tuple[tuple[str, int], ...]], list[Field]] = {}
        for field in self._series.fields:
            if field.coordinates:
                by_points.setdefault((field.coordinates, field.leading), []).append(field)
        grids += "".join(self._moved(step, names, fields) for (names, _), fields in by_points.items())
        return f'<Grid GridType="Collection" CollectionType="Spatial">{stamp}\n{grids}</Grid>\n'

    def _moved(self, step: int, names: tuple[str, ...], fields: Sequence[Field]) -> str:
        """Grids of fields with the same coordinates: one for each sample, with its points where they are."""
        text, axes = "", [field for name in names for field in self._series.fields if field.name == name]
        for index, labels in _indices(fields[0]):
            name = " ".join([names[0].rstrip("_0123456789"), *labels])
            moved = [self._slab(step, field, index, f"{self._series.location(field).shape[0]}") for field in axes]
            attributes = "".join(self._attribute(step, field, index, ()) for field in fields)
            text += f'<Grid Name="{name}" GridType="Uniform">{self._series.geometry.xdmf(self._view, moved)}\n{attributes}</Grid>\n'
        return text

    def _attribute(self, step: int, field: Field, index: tuple[int, ...], labels: Sequence[str]) -> str:
        location = self._series.location(field)
        padded = " ".join(map(str, [1] * (3 - len(location.shape)) + list(location.shape)))
        return (
            f'<Attribute Name="{" ".join([field.name, *labels])}" AttributeType="Scalar" Center="{location.center}">'
            f"{self._slab(step, field, index, padded)}</Attribute>\n"
        )

    def _slab(self, step: int, field: Field, index: tuple[int, ...], shown: str) -> str:
        """The values of a field in a step and sample, as an array of the shape ``shown``."""
        location = self._series.location(field)
        shape = " ".join(map(str, [step + 1, *(size for _, size in field.leading), *location.shape]))
        start = [step, *index, *(0 for _ in location.shape)]
        count = [*(1 for _ in (step, *index)), *location.shape]
        slab = " ".join(map(str, [*start, *(1 for _ in start), *count]))
        return (
            f'<DataItem ItemType="HyperSlab" Dimensions="{shown}">'
            f'<DataItem Dimensions="3 {len(start)}" Format="XML">{slab}</DataItem>'
            f'<DataItem Format="HDF" NumberType="Float" Precision="{np.dtype(field.dtype).itemsize}" Dimensions="{shape}">'
            f"{self._view}:/{field.name}</DataItem></DataItem>"
        )


def _indices(field: Field) -> Iterator[tuple[tuple[int, ...], list[str]]]:
    """All indices of the leading dims, and what a field there is called after its name."""
    for index in product(*(range(size) for _, size in field.leading)):
        yield index, [f"{name} {i}" for (name, size), i in zip(field.leading, index, strict=True) if size > 1]
