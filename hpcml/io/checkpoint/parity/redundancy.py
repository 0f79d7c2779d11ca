"""Parity among ranks while training goes on: MPI moves the segments, the keepers compute.

    image --Isend segments--> holders' receive buffers --keeper encodes--> parity in the keepers' memory

Messages leave from and arrive in memory shared with the keepers, so the ranks copy nothing and compute nothing.
"""

import mmap
import os
from dataclasses import asdict
from typing import Any

import numpy as np
from mpi4py import MPI

from hpcml.io.checkpoint.keeper.link import KeeperLink
from hpcml.io.checkpoint.parity.parity_group import ParityGroup, pick_groups
from hpcml.io.checkpoint.state.image import Image
from hpcml.mpi.message_tags import MessageTags
from hpcml.mpi.patience import wait
from hpcml.mpi.patient_comm import patient

_ALIGN = 4096


class Redundancy:
    """The rank's part in the parity of its group.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks of the run.
    link : KeeperLink
        To the keeper of this rank.
    losses : int
        Members of a group whose memory may be lost at once.
    group_size : int
        Ranks in a group.

    Raises
    ------
    CheckpointError
        For a group too small, on every rank.

    Communication
    -------------
    Collective to make and to `resize`; `start` posts messages within the group, (g - k) segments to each side for each of k losses.
    """

    def __init__(self, comm: MPI.Intracomm, link: KeeperLink, losses: int, group_size: int) -> None:
        self._link, self._losses = link, losses
        self._groups = pick_groups(comm.allgather(MPI.Get_processor_name()), group_size)
        for members in self._groups:
            ParityGroup(members, losses, 0)
        mine = next(index for index, members in enumerate(self._groups) if comm.rank in members)
        self._members = self._groups[mine]
        self._comm = patient(comm).Split(mine, self._members.index(comm.rank))
        self._group = ParityGroup(self._members, losses, 0)
        tags = MessageTags.of(self._comm)  # of a communicator that all members have just made: they take the same
        self._tags = [tags.take() for _ in self._members]
        self._incoming: mmap.mmap | None = None
        self._requests: list[MPI.Request] = []
        self._header: dict[str, Any] | None = None
        self._slot = self._safe_slot = -1

    def resize(self, image_bytes: int) -> None:
        """Make room for images of a new length. Nothing may be underway."""
        largest = self._comm.allreduce(image_bytes, op=MPI.MAX)
        segment = -(-largest // (self._group.width * _ALIGN)) * _ALIGN
        self._group = ParityGroup(self._members, self._losses, segment)
        incoming = os.memfd_create("hpcml-parity-in")
        os.ftruncate(incoming, self._losses * self._group.width * segment)
        parity = os.memfd_create("hpcml-parity")
        os.ftruncate(parity, 2 * self._losses * self._group.bundle)
        self._incoming = mmap.mmap(incoming, 0)
        self._link.set_parity({"group": asdict(self._group), "member": self._comm.rank}, incoming, parity)
        self._slot = self._safe_slot = -1

    def start(self, image: Image, slot: int, header: dict[str, Any]) -> None:
        """Send a complete copy's segments to the members that keep parity of them."""
        assert self._incoming is not None
        group, me = self._group, self._comm.rank
        arriving = np.frombuffer(self._incoming, np.uint8).reshape(self._losses, group.width, group.segment)
        for place, stripe in enumerate(group.stripes_held(me)):
            for row, giver in enumerate(group.contributors(stripe)):
                self._requests.append(self._comm.Irecv([arriving[place, row], MPI.BYTE], source=giver, tag=self._tags[stripe]))
        leaving = np.frombuffer(image.memory, np.uint8)
        for index, stripe in enumerate(group.stripes_fed(me)):
            part = leaving[index * group.segment : (index + 1) * group.segment]
            for holder in group.holders(stripe):
                self._requests.append(self._comm.Isend([part, MPI.BYTE], dest=holder, tag=self._tags[stripe]))
        self._header, self._slot = header, slot

    def poll(self) -> None:
        """Hand over what has arrived. Local, without waiting; MPI makes progress in it."""
        if self._requests and MPI.Request.Testall(self._requests):
            self._encode()

    def wait(self) -> str | None:
        """Wait until the parity of the last copy is complete on this rank; return what went wrong."""
        if self._requests:
            wait(lambda: bool(MPI.Request.Testall(self._requests)), lambda: "the parity of a checkpoint", self._comm)
            self._encode()
        return self._link.wait_encoded()

    def busy(self) -> bool:
        """Whether this rank's part of the last parity is not complete yet."""
        return bool(self._requests) or self._link.encoding()

    def settle(self) -> None:
        """Say that no rank is busy: the last parity is complete, the one before it is no longer needed."""
        self._safe_slot = self._slot

    def pinned(self) -> set[int]:
        """Slots that must keep their copies: the one whose parity is complete, and the one whose parity is underway."""
        return {self._safe_slot, self._slot}

    def close(self) -> None:
        """Free the communicator; collective."""
        self._comm.Free()

    def _encode(self) -> None:
        assert self._header is not None
        self._requests = []
        self._link.encode(self._header)
