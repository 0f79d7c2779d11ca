"""The copies of the state in memory: which may be overwritten, which go to disk, and the parity of them."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.keeper.link import KeeperLink
from hpcml.io.checkpoint.parity.redundancy import Redundancy
from hpcml.io.checkpoint.state.flat_state import FlatState
from hpcml.io.checkpoint.state.image import Image, to_json
from hpcml.io.checkpoint.state.layout import Layout, agree_layout
from hpcml.io.checkpoint.state.placement import Rows, content
from hpcml.io.checkpoint.state.view import build_view

_log = logging.getLogger(__name__)
COPIES = 3
"""One on its way to disk, one complete, one being filled, so that no save waits for the disk. Parity holds on to one more."""


class Copies:
    """Copies of what this rank writes of the state, shared with its keeper.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks of the run.
    link : KeeperLink
        To the keeper of this rank.
    redundancy : Redundancy or None
        Parity among ranks.
    lazy : bool
        Copy in a thread, while training goes on with a state that does not change before `finish`.

    Communication
    -------------
    `need` and `adapt` are collective, the others local.
    """

    def __init__(self, comm: MPI.Intracomm, link: KeeperLink, redundancy: Redundancy | None, lazy: bool) -> None:
        self._comm, self._link, self._redundancy = comm, link, redundancy
        self._layout: Layout | None = None
        self._images: list[Image] = []
        self._newest, self._flushed, self._idle = -1, True, False
        self._newest_header: dict[str, Any] | None = None
        self._thread = ThreadPoolExecutor(1, "hpcml-copy") if lazy else None
        self._copying: Future[None] | None = None
        self._tolerated = link.max_age

    def need(self, flat: FlatState, step: int) -> tuple[bool, bool]:
        """Ask all ranks whether the state has another layout, and whether the values need more room.

        By its end every rank has finished its last copy, so that older ones may be overwritten.

        Communication
        -------------
        Collective, a few bytes.
        """
        changed = self._layout is None or not self._layout.fits(flat)
        outgrown = not self._images or len(_values(flat, step)) > self._images[0].values_capacity
        encoding = self._redundancy is not None and self._redundancy.busy()
        flags = np.array([changed, outgrown, self._link.occupied(), encoding])
        self._comm.Allreduce(MPI.IN_PLACE, flags, op=MPI.LOR)
        self._idle = not flags[2:].any()
        if self._redundancy is not None and not flags[3]:
            self._redundancy.settle()
        return bool(flags[0]), bool(flags[1])

    def adapt(self, flat: FlatState, step: int, changed: bool) -> None:
        """Make a new layout, if it changed, and new memory; the copies there are go, so bring them to disk before.

        Communication
        -------------
        Collective.
        """
        if changed:
            self._layout = agree_layout(flat, self._comm)
            if self._comm.rank == 0:
                self._link.set_view(build_view(self._layout))
        assert self._layout is not None
        mine = self._layout.pieces[self._comm.rank]
        needed = len(_values(flat, step))
        on_gpu = any(getattr(content(leaf), "is_cuda", False) for leaf in flat.leaves)
        stale, self._images = self._images, []
        for slot in range(COPIES + (self._redundancy is not None)):
            self._images.append(Image(self._layout.head(), self._layout.specs, mine, needed))
            self._link.set_image(slot, self._images[slot].fd)
            if on_gpu:
                self._images[slot].pin()
        for image in stale:
            image.close()
        self._newest, self._newest_header = -1, None
        if self._redundancy is not None:
            self._redundancy.resize(self._images[0].nbytes)

    def fill(self, flat: FlatState, header: dict[str, Any]) -> bool:
        """Copy the state; start its way to disk, and to the ranks that keep parity of it, unless those are busy with an earlier one.

        Returns
        -------
        bool
            Whether it is on its way.

        Raises
        ------
        CheckpointError
            Where no memory is free and an earlier copy could not be written.
        """
        assert self._layout is not None
        self._tell_if_behind()
        slot = self._free()
        self._link.filling(slot)
        values, flush = _values(flat, header["step"]), self._idle

        def copy() -> None:
            assert self._layout is not None
            self._images[slot].fill(values, flat.leaves, self._layout.origins)
            self._link.complete(slot, header, flush)

        self._newest, self._newest_header, self._flushed = slot, header, flush
        if self._thread is None:
            copy()
            self._share()
        else:
            self._copying = self._thread.submit(copy)
        return flush

    def finish(self) -> None:
        """Wait until the last copy is complete: from then on the state may change."""
        if self._copying is not None:
            copying, self._copying = self._copying, None
            copying.result()
            self._share()
        if self._redundancy is not None:
            self._redundancy.poll()

    def _share(self) -> None:
        if self._redundancy is not None and self._flushed:
            assert self._newest_header is not None
            self._redundancy.start(self._images[self._newest], self._newest, self._newest_header)

    def _tell_if_behind(self) -> None:
        """Say when the disk falls behind, and again when that has become twice as bad."""
        behind, saves = self._link.behind()
        if self._comm.rank == 0 and behind > self._tolerated:
            self._tolerated = 2 * behind
            lost = f"the work of the last {behind:.0f} s, {saves} saves, would be lost with this node"
            _log.warning(
                "%s: nothing newer is on the disk, which is slow, or every core is taken. Save less often or leave a core free", lost
            )

    def underway(self) -> bool:
        """Whether a copy of this rank is on its way to disk or to other ranks."""
        if self._copying is not None:
            return True
        self.finish()
        self._link.listen()
        return self._link.occupied() or (self._redundancy is not None and self._redundancy.busy())

    def drain(self) -> None:
        """Bring the newest copy to disk, and its parity to the keepers, and wait until this rank has done its part."""
        late = None if self._flushed else self._newest_header
        if self._redundancy is not None:  # first, and whatever becomes of the files: the other ranks wait for the segments
            failure = self._redundancy.wait()
            if late is not None:
                self._redundancy.start(self._images[self._newest], self._newest, late)
                failure = failure or self._redundancy.wait()
            _check(failure)
        _check(self._link.wait_written())
        if late is not None:
            self._link.complete(self._newest, late, flush=True)
            self._flushed = True
            _check(self._link.wait_written())

    def close(self, clean: bool) -> None:
        """Give the memory back; the keeper may go on with it. A clean end is collective where there is parity."""
        if self._thread is not None:
            self._thread.shutdown()
        if clean and self._redundancy is not None:
            self._redundancy.close()
        for image in self._images:
            image.close()

    def _free(self) -> int:
        pinned = {self._newest} | (self._redundancy.pinned() if self._redundancy is not None else set())
        for _ in range(2):
            for slot in range(len(self._images)):
                if slot not in pinned and slot not in self._link.flushing():
                    return slot
            _check(self._link.wait_written())
        raise CheckpointError(f"all {len(self._images)} copies of the state are in use: this is a fault of hpcml, please report it")


def _values(flat: FlatState, step: int) -> bytes:
    rows = {str(entry): len(leaf.array) for entry, leaf in enumerate(flat.leaves) if isinstance(leaf, Rows)}
    return to_json({"step": step, "values": flat.values, "rows": rows})


def _check(failure: str | None) -> None:
    if failure is not None:
        raise CheckpointError(failure)
