"""Packages that not everybody needs."""

from importlib import import_module
from typing import Any

from hpcml.core.errors import ConfigError


def optional_module(name: str, need: str, install: str) -> Any:
    """Import a module of a package that may not be installed.

    Parameters
    ----------
    name : str
        Of the module.
    need : str
        Who needs which package: the beginning of the error.
    install : str
        What to install.

    Raises
    ------
    ConfigError
        If it cannot be imported, or a library that it needs is missing.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> optional_module("math", "roots need the package math", "math").sqrt(4.0)
    2.0
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0])
        raise ConfigError(f"{need}: pip install {install}{'' if absent else f' ({error})'}") from None
