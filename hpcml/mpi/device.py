"""Which device a rank computes on."""

import os

import torch

from hpcml.core.errors import DeviceError


def device_index(local_rank: int, num_devices: int, order: str = "") -> int:
    """Visible GPU of a rank: ranks of a node are dealt to its GPUs in turn.

    Parameters
    ----------
    local_rank : int
        Rank among those of the node.
    num_devices : int
        GPUs that this rank sees, at least one.
    order : str
        Empty for 0, 1, 2, ...; ``"reverse"`` where GPUs are numbered against the cores; or a list, ``"3,2,1,0"``. A rank that sees one
        GPU takes that one: its launcher has chosen already.

    Raises
    ------
    DeviceError
        If the order is not one of these, or names a GPU that is not there.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> [device_index(r, 4, "reverse") for r in range(5)]
    [3, 2, 1, 0, 3]
    """
    if num_devices == 1:
        return 0
    text = order.strip() or ",".join(map(str, range(num_devices)))
    if text == "reverse":
        text = ",".join(map(str, reversed(range(num_devices))))
    numbers = [int(part) if part.strip().isdecimal() else -1 for part in text.split(",")]
    if not all(0 <= number < num_devices for number in numbers):
        raise DeviceError(
            f"HPCML_GPU_ORDER={order!r} (seen on local rank {local_rank}): expected 'reverse' or a list of GPUs between 0 and "
            f"{num_devices - 1}, such as '1,0'"
        )
    return numbers[local_rank % len(numbers)]


_bound: list[torch.device] = []


def bound_device() -> torch.device:
    """The device that this process has bound, see `bind_device`; the CPU if it has not bound one.

    Communication
    -------------
    Local.
    """
    return _bound[-1] if _bound else torch.device("cpu")


def choose_device(asked: torch.device | str | None, bound: torch.device) -> torch.device:
    """The device that was asked for.

    Parameters
    ----------
    asked : torch.device or str, optional
        None for the one that is bound; ``"cuda"``, without a number, for the GPU that is.
    bound : torch.device
        That of this process.

    Raises
    ------
    DeviceError
        If there is no such device.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> choose_device("cpu", bound=torch.device("cuda:1"))
    device(type='cpu')
    """
    if asked is None:
        return bound
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise DeviceError(f"unknown device {asked!r}: expected 'cpu', 'cuda', or another that torch knows") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device {str(asked)!r}: expected a GPU that torch can use, got a rank without one: use 'cpu', or look at `hpcml info`"
        )
    return bound if device.type == bound.type and device.index is None else device


def bind_device(local_rank: int) -> torch.device:
    """Make one GPU the current one of this process, or fall back to the CPU where none is visible.

    Communication
    -------------
    Local.

    Notes
    -----
    Leave all GPUs of a node visible to all its ranks: where each task sees only its own, the ranks cannot reach one another's memory.
    ``CUDA_VISIBLE_DEVICES=`` (empty) keeps to the CPU; ``HPCML_GPU_ORDER`` is the order of `device_index`.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", device_index(local_rank, torch.cuda.device_count(), os.environ.get("HPCML_GPU_ORDER", "")))
    torch.cuda.set_device(device)
    _bound[:] = [device]
    return device
