"""Where each cell of a window comes from, along one dim: the boundary rules as index maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcml.core.errors import ConfigError
from hpcml.parallel.layout import Range

BOUNDARIES = ("periodic", "zero", "constant", "reflect", "replicate")


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of a window that one coordinate of the process grid supplies.

    Attributes
    ----------
    coord : int
        Supplier, as a coordinate along this dim.
    source : int
        Lowest supplied index, counted from the start of the supplier's range.
    source_size : int
        Number of supplied cells; 1 when ``step`` is 0.
    target : int
        First cell of the run, counted from the start of the window.
    size : int
        Number of cells of the run.
    step : int
        1 in order, -1 reversed (reflect), 0 the same cell repeated (replicate).
    """

    coord: int
    source: int
    source_size: int
    target: int
    size: int
    step: int


def source_index(index: np.ndarray, num_cells: int, boundary: str) -> np.ndarray:
    """Global index that a possibly outside ``index`` reads, -1 where it reads the fill value.

    Parameters
    ----------
    index : ndarray of int64
        Any integers.
    num_cells : int
        n; indices 0 to n - 1 read themselves.
    boundary : str
        ``periodic`` i mod n; ``reflect`` about the outermost cells, which are not repeated; ``replicate`` the outermost cell; ``zero`` and
        ``constant`` the fill value. The names and the meaning are those of `torch.nn.functional.pad`.

    Raises
    ------
    ConfigError
        For any other name.

    Communication
    -------------
    Local.
    """
    if boundary == "periodic":
        return index % num_cells
    if boundary == "replicate":
        return np.clip(index, 0, num_cells - 1)
    if boundary == "reflect":
        period = max(2 * (num_cells - 1), 1)
        folded = index % period
        return np.minimum(folded, period - folded)
    if boundary in ("zero", "constant"):
        return np.where((index < 0) | (index >= num_cells), -1, index)
    raise ConfigError(f"unknown boundary {boundary!r}: expected one of {', '.join(BOUNDARIES)}")


def segments(window: Range, num_cells: int, boundary: str, owned: Sequence[Range]) -> list[Segment]:
    """Cut a window into runs that come from one supplier in one direction.

    Parameters
    ----------
    window : (int, int)
        Half-open range, inside or outside the array.
    num_cells : int
        Global cells of this dim.
    boundary : str
        One of `BOUNDARIES`.
    owned : sequence of (int, int)
        What each coordinate owns: disjoint, in order, covering the array.

    Returns
    -------
    list of Segment
        In order of ``target``; cells that read the fill value are in none.

    Communication
    -------------
    Local.
    """
    index = np.arange(*window)
    if not len(index):
        return []
    source = source_index(index, num_cells, boundary)
    coord = np.searchsorted([stop for _, stop in owned], source, side="right")
    step = np.diff(source)
    # Runs end at the ends of the array too, so that a block's own cells are always one run.
    joined = (np.abs(step) <= 1) & (np.diff(coord) == 0) & (source[1:] >= 0) & (source[:-1] >= 0) & (index[1:] % num_cells != 0)
    turned = np.zeros_like(joined)
    turned[1:] = joined[1:] & joined[:-1] & (step[1:] != step[:-1])
    starts = [0, *(np.flatnonzero(~joined | turned) + 1)]
    runs = []
    for start, stop in zip(starts, [*starts[1:], len(index)], strict=True):
        if source[start] < 0:
            continue
        owner = int(coord[start])
        direction = int(step[start]) if stop - start > 1 else 1
        lowest = int(min(source[start], source[stop - 1])) - owned[owner][0]
        size = int(stop - start)
        runs.append(Segment(owner, lowest, size if direction else 1, int(start), size, direction))
    return runs
