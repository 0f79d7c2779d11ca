"""Messages by MPI straight from field to field: derived datatypes describe the boxes, and nothing is packed."""

from collections.abc import Mapping, Sequence

from mpi4py import MPI

from hpcml.kernels.strided_box import StridedBox
from hpcml.parallel.transport.messages import MessageTransport
from hpcml.parallel.transport.watch import Watch

Pieces = Mapping[int, Sequence[tuple[int, StridedBox]]]
"""By peer: number of a field, and which bytes of it."""


class DatatypeTransport(MessageTransport):
    """Exchange with any neighbors by MPI, out of the fields and into them.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    peers : sequence of int
        Those that are reached so.
    tags : mapping of int to (int, int)
        Of the messages from each peer and to it.
    watch : Watch
        Looks after the neighbors.

    Attributes
    ----------
    peers : sequence of int
        As given. They have no buffers.

    Communication
    -------------
    Neighbors, one message per peer; nothing is allocated while the fields stay where they are. Requests are made anew when they do not.
    """

    way = "datatype"

    def __init__(self, comm: MPI.Intracomm, peers: Sequence[int], tags: Mapping[int, tuple[int, int]], watch: Watch) -> None:
        self.peers = peers
        self.send, self.recv = ({},), ({},)
        self._comm, self._tags, self._watch = comm, tags, watch
        self._signs = [{}, {}]
        self._staged, self._event = False, None
        self._requests, self._peers, self._num_receives = [], [], 0
        self._given: Pieces = {}
        self._taken: Pieces = {}

    def describe(self, given: Pieces, taken: Pieces) -> None:
        """Say which bytes of the fields go to each peer, and where what comes from each goes."""
        self._given, self._taken = ({p: pieces[p] for p in self.peers if pieces.get(p)} for pieces in (given, taken))

    def point(self, addresses: Sequence[int]) -> None:
        """Let the messages come from fields at these addresses, and go there."""
        self.close()
        self._peers, self._num_receives = [*self._taken, *self._given], len(self._taken)
        ways = [(self._comm.Recv_init, 0)] * len(self._taken) + [(self._comm.Send_init, 1)] * len(self._given)
        for (make, way), peer, pieces in zip(ways, self._peers, [*self._taken.values(), *self._given.values()], strict=True):
            cells = _all(pieces, addresses)
            self._requests.append(make([MPI.BOTTOM, 1, cells], peer, self._tags[peer][way]))
            cells.Free()  # the request keeps it


def _all(pieces: Sequence[tuple[int, StridedBox]], addresses: Sequence[int]) -> MPI.Datatype:
    """All pieces as one datatype of absolute addresses."""
    boxes = [_datatype(box) for _, box in pieces]
    starts = [addresses[number] + box.start for number, box in pieces]
    found = MPI.Datatype.Create_struct([1] * len(boxes), starts, boxes).Commit()
    for box in boxes:
        box.Free()
    return found


def _datatype(box: StridedBox) -> MPI.Datatype:
    """The bytes of a box from its start on."""
    found = MPI.BYTE.Dup()
    for count, stride in zip(reversed(box.counts), reversed(box.strides), strict=True):
        inner, found = found, found.Create_hvector(count, 1, stride)
        inner.Free()
    return found
