"""The file that ParaView and VisIt open: which part of the view is which time step."""

import errno
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

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
        descriptor = os.open(self._path, os.O_WRONLY)
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
        fields = "".join(self._attribute(step, field) for field in self._series.fields)
        return f'<Grid GridType="Uniform"><Time Value="{float(time)!r}"/>{self._series.geometry.xdmf(self._view)}\n{fields}</Grid>\n'

    def _attribute(self, step: int, field: Field) -> str:
        location, text = self._series.location(field), ""
        sizes = [size for _, size in field.leading]
        shape = " ".join(map(str, [step + 1, *sizes, *location.shape]))
        padded = " ".join(map(str, [1] * (3 - len(location.shape)) + list(location.shape)))
        precision = np.dtype(field.dtype).itemsize
        for index in product(*map(range, sizes)):
            labels = [f"{name} {i}" for (name, size), i in zip(field.leading, index, strict=True) if size > 1]
            start = [step, *index, *(0 for _ in location.shape)]
            count = [*(1 for _ in (step, *index)), *location.shape]
            slab = " ".join(map(str, [*start, *(1 for _ in start), *count]))
            text += (
                f'<Attribute Name="{" ".join([field.name, *labels])}" AttributeType="Scalar" Center="{location.center}">'
                f'<DataItem ItemType="HyperSlab" Dimensions="{padded}">'
                f'<DataItem Dimensions="3 {len(start)}" Format="XML">{slab}</DataItem>'
                f'<DataItem Format="HDF" NumberType="Float" Precision="{precision}" Dimensions="{shape}">'
                f"{self._view}:/{field.name}</DataItem></DataItem></Attribute>\n"
            )
        return text
