"""Torch's autocast as layers ask for it, on any device, those included that have none."""

from contextlib import AbstractContextManager, nullcontext

import torch


def is_autocast(device: torch.device) -> bool:
    """Whether torch computes in 16 bits on a device now.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     is_autocast(torch.device("cpu")), is_autocast(torch.device("meta"))
    (True, False)
    """
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which every operation computes in the precision of what it is given.

    Communication
    -------------
    Local.
    """
    return torch.autocast(device.type, enabled=False) if is_autocast(device) else nullcontext()


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """A block in which torch computes in 16 bits what bears it; with None, as it did before.

    Communication
    -------------
    Local.
    """
    return nullcontext() if dtype is None or device.type == "meta" else torch.autocast(device.type, dtype)
