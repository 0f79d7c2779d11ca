"""Updates of a stream of one's own, as all ranks have them."""

from collections.abc import Iterable, Iterator

from hpcml.core.errors import TrainingError
from hpcml.data.epochs import Epochs
from hpcml.data.stream import Part, Stream
from hpcml.mpi.reductions import all_sum

CLOSE = 1e-6
"""How near to 1 the weights of an update's parts sum up."""


def agreed_updates(stream: Stream) -> Iterator[Iterable[Part]]:
    """Go through a stream once; passes over stored data are known to give what they should.

    Raises
    ------
    TrainingError
        On every rank, if some have another update and others have none. When the parts of an update are gone through: for one with a
        weight and no samples, and for weights that do not sum to 1.

    Communication
    -------------
    That of the stream, and for one of one's own a sum of a number for each update.
    """
    if isinstance(stream, Epochs):
        yield from stream
        return
    comm, updates = stream.world_comm, iter(stream)
    while True:
        parts = next(updates, None)
        given = all_sum(int(parts is not None), comm)
        if given == 0:
            return
        if parts is None or given < comm.size:
            raise TrainingError(f"the stream has another update on {given} of {comm.size} ranks: give all ranks as many")
        yield _Checked(parts)


class _Checked:
    """Parts of an update."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Part]:
        total = 0.0
        for part in self._parts:
            x, _, weight = part
            if weight and not len(x):
                raise TrainingError(f"the stream gave an update without samples, of shape {tuple(x.shape)}: leave such ones out")
            total += weight
            yield part
        if abs(total - 1) > CLOSE:
            raise TrainingError(f"the weights of an update's parts sum to {total:g}: give each part its share, so that they sum to 1")
