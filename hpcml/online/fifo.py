"""First in, first out: every sample is learned from once, in the order in which they came."""

from hpcml.online.buffer import Buffer
from hpcml.online.draws import Draws


class Fifo(Buffer):
    """Gives the oldest sample, and forgets it.

        put    waits while all places are taken
        draw   the oldest; any that is there, whatever the watermark

    References
    ----------
    L. Meyer, M. Schouler, R. A. Caulk, A. Ribes, B. Raffin, High throughput training of deep surrogates from large ensemble runs, SC 2023,
    doi:10.1145/3581784.3607083.

    Examples
    --------
    >>> buffer = Fifo(2, 1, Draws(0, "example"))
    >>> first = buffer.put()
    >>> buffer.draw() == first, buffer.can_draw()
    (True, False)
    """

    def __init__(self, capacity: int, watermark: int, draws: Draws) -> None:
        super().__init__(capacity, 0, draws)

    def draw(self) -> int:
        place = self.unseen.pop(0)
        self.give_free(place)
        return place
