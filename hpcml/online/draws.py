"""Random whole numbers whose state is one counter, for what a run draws in turn and goes on with after a restart."""

import torch

from hpcml.mpi.seeds import Stream, bits

_AHEAD = 1024


class Draws:
    """Numbers drawn one after the other, the same wherever the counter is the same.

    Parameters
    ----------
    seed : int
        Of the run.
    stream : str, int or tuple of these
        What they are for, see `hpcml.mpi.seeds`.

    Attributes
    ----------
    count : int
        Numbers drawn so far; it may be set.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> draws = Draws(0, "example")
    >>> first = [draws.below(10) for _ in range(3)]
    >>> draws.count = 0
    >>> first == [draws.below(10) for _ in range(3)]
    True
    """

    def __init__(self, seed: int, stream: Stream) -> None:
        self._seed, self._stream = seed, stream
        self._words: list[int] = []
        self._first = 0
        self.count = 0

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1, each as likely as the others to one part in 2^31 or better."""
        place = self.count - self._first
        if not 0 <= place < len(self._words):
            self._first, place = self.count, 0
            words = bits(self._seed, self._stream, torch.arange(self.count, self.count + _AHEAD))
            self._words = words.bitwise_right_shift(1).bitwise_and(2**62 - 1).tolist()
        self.count += 1
        return self._words[place] % limit
