"""A process group of torch over this node's loopback, beside MPI: what exchanges are compared with."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mpi4py import MPI
from torch import Tensor


@contextmanager
def gloo(comm: MPI.Intracomm) -> Iterator[None]:
    """Let torch.distributed have a group of these ranks in this block.

    Communication
    -------------
    Collective over comm.
    """
    import torch.distributed as dist

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    folder = tempfile.TemporaryDirectory() if comm.rank == 0 else None
    name = comm.bcast(f"{folder.name}/store" if folder else "")
    dist.init_process_group("gloo", init_method=f"file://{name}", rank=comm.rank, world_size=comm.size)
    try:
        yield
    finally:
        dist.destroy_process_group()
        comm.Barrier()  # a rank that looks for the store when it is gone waits for it for minutes
        if folder:
            folder.cleanup()


def send_and_receive(out: Sequence[tuple[int, Tensor]], into: Sequence[tuple[int, Tensor]]) -> None:
    """Send contiguous tensors to ranks of the group, and receive some, in one batch of messages.

    Communication
    -------------
    Neighbors.
    """
    import torch.distributed as dist

    sends = [dist.P2POp(dist.isend, tensor, peer) for peer, tensor in out]
    receives = [dist.P2POp(dist.irecv, tensor, peer) for peer, tensor in into]
    for request in dist.batch_isend_irecv([*sends, *receives]) if out or into else ():
        request.wait()
