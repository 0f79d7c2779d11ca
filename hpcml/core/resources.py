"""Files that ship with the package but are no Python: CUDA sources, job templates and sites.

In a wheel they lie inside the package, ``hpcml/_kernels/`` and ``hpcml/_jobs/``; in a plain checkout and in an editable install beside it,
``kernels/`` and ``jobs/``.
"""

from pathlib import Path

from hpcml.core.errors import HpcmlError

_PACKAGE = Path(__file__).parents[1]


def resource_path(kind: str, name: str = "", package: Path = _PACKAGE) -> Path:
    """Path of a file, or of a whole folder, that ships with the package.

    Parameters
    ----------
    kind : str
        Folder: ``kernels`` or ``jobs``.
    name : str
        File in it; without one, the folder itself.
    package : Path
        Folder of the package, for those who look into another installation.

    Returns
    -------
    Path
        Absolute, and it exists.

    Raises
    ------
    HpcmlError
        Naming the places looked at.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> resource_path("kernels").is_dir()
    True
    """
    candidates = [package / f"_{kind}" / name, package.parent / kind / name]
    for path in candidates:
        if path.exists():
            return path
    places = " nor at ".join(str(path) for path in candidates)
    raise HpcmlError(f"{kind} file {name!r} is neither at {places}: misspelt, or the installation is incomplete, then install hpcml again")
