"""The reservoir: samples stay and are drawn again until newer ones need their places."""

from hpcml.online.buffer import Buffer, take_out


class Reservoir(Buffer):
    """Gives a sample at random, and keeps it.

        put    where all places are taken, one that was drawn before, any with equal chances, goes; where none was, put waits
        draw   any with equal chances, while more than the watermark are there
        once no more come, what is drawn goes, until nothing is left

    No sample is lost before it was learned from, and above the watermark nobody waits for a simulation. It is not the sampling of streams
    that is known by the same name: newer samples are more likely to be there than older ones.

    References
    ----------
    As `hpcml.online.fifo.Fifo`.

    Examples
    --------
    >>> from hpcml.online.draws import Draws
    >>> buffer = Reservoir(2, 0, Draws(0, "example"))
    >>> _ = buffer.put(), buffer.put()
    >>> buffer.room, buffer.draw() in (0, 1), buffer.room
    (0, True, 1)
    """

    @property
    def room(self) -> int:
        return self.capacity - len(self.unseen)

    def put(self) -> int:
        if self.population == self.capacity:
            self.give_free(take_out(self.seen, self.next_to_go()))
        return super().put()

    def next_to_go(self) -> int:
        """Position in ``seen`` of the sample whose place is needed."""
        return self.draws.below(len(self.seen))

    def draw(self) -> int:
        places, position = self.next_to_draw()
        place = places[position]
        if self.over:
            self.give_free(take_out(places, position))
        elif places is self.unseen:
            self.seen.append(take_out(places, position))
        return place

    def next_to_draw(self) -> tuple[list[int], int]:
        """``unseen`` or ``seen``, and the position there of the sample that is drawn."""
        position = self.draws.below(self.population)
        new = position < len(self.unseen)
        return (self.unseen, position) if new else (self.seen, position - len(self.unseen))
