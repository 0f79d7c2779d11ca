"""How a job comes to the same ``hpcml`` as the shell that it is submitted from."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from hpcml.core.errors import ConfigError
from hpcml.slurm.job import check_line


def activation(folder: str | None = None, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Lines of bash that activate a Python environment.

    Parameters
    ----------
    folder : str, optional
        Of a virtual or a conda environment, ``none`` for nothing to activate; by default the environment that this Python is of.
    environ : mapping
        Variables of this process.

    Raises
    ------
    ConfigError
        If the folder is no environment.

    Communication
    -------------
    Local.
    """
    if folder == "none":
        return ()
    prefix = Path(folder or sys.prefix).absolute()
    check_line("environment", str(prefix))
    quoted = shlex.quote(str(prefix))
    if (prefix / "bin" / "activate").is_file() and not (prefix / "conda-meta").is_dir():
        return (f"source {quoted}/bin/activate",)
    if (prefix / "conda-meta").is_dir():
        root = Path(environ["CONDA_EXE"]).parents[1] if "CONDA_EXE" in environ else prefix
        if (root / "bin" / "activate").is_file():
            return (f"source {shlex.quote(str(root))}/bin/activate {quoted}",)
        return (f"export PATH={quoted}/bin:$PATH CONDA_PREFIX={quoted}",)
    if folder is not None:
        raise ConfigError(f"environment {folder!r}: expected the folder of a virtual or a conda environment, or none")
    return ()
