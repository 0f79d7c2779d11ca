"""The order of a file's dims where it names none: told by their numbers of cells."""

from hpcml.core.errors import ConfigError
from hpcml.io.dataset import Meaning


def check_order_of_dims(like: Meaning, cells: tuple[int, ...], path: str) -> None:
    """Refuse a grid whose cells are those of the training data with its dims in another order: its fields would be taken as turned ones.

    Parameters
    ----------
    like : Meaning
        What the training data mean.
    cells : tuple of int
        Along each dim of a file that says neither names nor coordinates of its dims.
    path : str
        The file.

    Raises
    ------
    ConfigError
        For a permutation of the training data's cells; any other resolution is one.

    Communication
    -------------
    Local.
    """
    expected = tuple(axis.cells for axis in like.axes)
    if cells != expected and sorted(cells) == sorted(expected):
        raise ConfigError(
            f"{path} is on a grid of {cells} cells, that of {like.source} with its dims in another order: expected {expected} or another "
            "resolution, so put the dims in the order of the training data"
        )
