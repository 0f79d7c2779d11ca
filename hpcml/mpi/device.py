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
    return device
