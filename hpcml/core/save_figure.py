"""Pictures on their way to a file that a user has named."""

from pathlib import Path
from typing import Any

from hpcml.core.errors import ConfigError


def save_figure(figure: Any, path: Path, **options: Any) -> Path:
    """Write a figure of matplotlib.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        To write.
    path : Path
        Of the picture; its suffix says in which format.
    **options
        Of ``figure.savefig``.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ConfigError
        If the file cannot be written, or matplotlib has no such format.

    Communication
    -------------
    Local.
    """
    try:
        figure.savefig(path, **options)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the picture {path}: {error}") from error
    return path
