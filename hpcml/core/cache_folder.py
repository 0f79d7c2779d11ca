"""Where hpcml keeps what it can make again: compiled kernels, and what it has found out about this machine."""

import os
import tempfile
from pathlib import Path


def cache_folder(subject: str) -> Path:
    """``$HPCML_CACHE/subject``, else ``hpcml/subject`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, else in the temporary folder.

    Parameters
    ----------
    subject : str
        Name of the sub-folder.

    Communication
    -------------
    Local. Ranks with one home see one folder, so what belongs to a machine must have the machine's name in it.
    """
    if root := os.environ.get("HPCML_CACHE"):
        return Path(root) / subject
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "hpcml" / subject
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass  # a read-only or missing home, as on many compute nodes
    return Path(tempfile.gettempdir()) / f"hpcml-{os.getuid()}" / subject
