"""Boxes of global index space: what a rank holds, writes and reads of an array."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class Box:
    """The cells ``offset <= index < offset + shape`` of a global array."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def volume(self) -> int:
        return prod(self.shape)

    def intersection(self, other: "Box") -> "Box":
        """Cells in both boxes; its volume is 0 where they do not meet."""
        start = tuple(max(a, b) for a, b in zip(self.offset, other.offset, strict=True))
        stop = (min(a + m, b + n) for a, m, b, n in zip(self.offset, self.shape, other.offset, other.shape, strict=True))
        return Box(start, tuple(max(0, e - s) for s, e in zip(start, stop, strict=True)))

    def slices(self, origin: tuple[int, ...]) -> tuple[slice, ...]:
        """The box as an index into an array whose first cell is `origin`."""
        return tuple(slice(s - o, s - o + n) for s, o, n in zip(self.offset, origin, self.shape, strict=True))

    def rows(self, start: int, stop: int) -> "Box":
        """The box without the rows (indices of dim 0, counted within the box) outside ``start <= row < stop``."""
        if not self.shape:
            return self
        return Box((self.offset[0] + start, *self.offset[1:]), (stop - start, *self.shape[1:]))
