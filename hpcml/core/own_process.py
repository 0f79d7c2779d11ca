"""Modules of hpcml that run in processes of their own, wherever the job was started."""

import os
import sys
from pathlib import Path

import hpcml


def own_process(module: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Command that runs a module of this very package, and what to add to the environment for it.

    Python looks for ``-m`` in the current folder first, where another user may have put an ``hpcml.py``; ``-P`` keeps it from that.

    Examples
    --------
    >>> command, added = own_process("hpcml.mpi.gpu_probe", "claim")
    >>> command[1:], list(added)
    (['-P', '-m', 'hpcml.mpi.gpu_probe', 'claim'], ['PYTHONPATH'])

    Communication
    -------------
    Local.
    """
    parent = str(Path(hpcml.__file__).parents[1])
    path = os.pathsep.join(filter(None, [parent, os.environ.get("PYTHONPATH")]))
    return [sys.executable, "-P", "-m", module, *words], {"PYTHONPATH": path}
