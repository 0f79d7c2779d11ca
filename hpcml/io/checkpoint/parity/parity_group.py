"""Redundancy within a group of ranks: what is lost with some of them is computed from the others.

    image of a member = segments      stripe j = one segment of each member that does not hold its parity

In a group of g ranks that survives k losses each image is cut into g - k segments. Stripe j keeps its k parity segments on members
j, ..., j + k - 1 (modulo g), so every member holds the parity of k stripes and contributes to the other g - k. With k = 1 the parity is
the exclusive or, with k = 2 a Reed-Solomon code (Cauchy matrix, ISA-L through PyECLib).

The keeper process imports this file; NumPy and PyECLib are imported where they compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from hpcml.core.errors import CheckpointError

_FRAGMENT_HEADER = 80  # bytes that PyECLib puts before each fragment


@dataclass(frozen=True, slots=True)
class ParityGroup:
    """How a group of ranks keeps parity.

    Parameters
    ----------
    members : tuple of int
        Ranks of the group, in order.
    losses : int
        Members whose memory may be lost at once: 1 or 2.
    segment : int
        Bytes in a segment.

    Raises
    ------
    CheckpointError
        For a group too small, or without the library that two losses need.
    """

    members: tuple[int, ...]
    losses: int
    segment: int

    def __post_init__(self) -> None:
        if self.losses not in (1, 2):
            raise CheckpointError(f"parity protects against 1 or 2 losses in a group, not {self.losses}")
        if len(self.members) <= self.losses:
            ranks = f"{len(self.members)} ranks"
            raise CheckpointError(f"{self.losses} losses in a group of {ranks} leave nothing to rebuild from: use larger groups")
        if self.losses == 2 and find_spec("pyeclib") is None:
            raise CheckpointError("two losses in a group need the library PyECLib: pip install 'hpcml[parity]'")

    @property
    def width(self) -> int:
        """Segments in an image, and data segments in a stripe."""
        return len(self.members) - self.losses

    @property
    def bundle(self) -> int:
        """Bytes that a holder keeps of one stripe."""
        return self.segment if self.losses == 1 else self.segment + (self.width + 1) * _FRAGMENT_HEADER

    def holders(self, stripe: int) -> list[int]:
        """Members (counted within the group) that hold the parity of a stripe, in the order of the parity segments."""
        return [(stripe + number) % len(self.members) for number in range(self.losses)]

    def contributors(self, stripe: int) -> list[int]:
        """Members with a data segment in a stripe, in the order of the segments."""
        return [member for member in range(len(self.members)) if member not in self.holders(stripe)]

    def stripes_held(self, member: int) -> list[int]:
        """Stripes whose parity a member holds."""
        return [stripe for stripe in range(len(self.members)) if member in self.holders(stripe)]

    def stripes_fed(self, member: int) -> list[int]:
        """Stripes that a member contributes to: segment s of its image goes to the s-th of them."""
        return [stripe for stripe in range(len(self.members)) if member not in self.holders(stripe)]


def encode(group: ParityGroup, number: int, segments: memoryview) -> bytes:
    """Compute parity segment `number` of a stripe from its data segments, laid end to end.

    Communication
    -------------
    Local.
    """
    if group.losses == 1:
        import numpy as np

        rows = np.frombuffer(segments, np.uint8).reshape(group.width, group.segment)
        return bytes(np.bitwise_xor.reduce(rows, axis=0).data)
    fragments = _driver(group).encode(bytes(segments))
    return b"".join(fragment[:_FRAGMENT_HEADER] for fragment in fragments[: group.width]) + fragments[group.width + number]


def decode(group: ParityGroup, wanted: int, data: Mapping[int, bytes], parity: Mapping[int, bytes]) -> bytes:
    """Compute a lost data segment of a stripe.

    Parameters
    ----------
    group : ParityGroup
        The group.
    wanted : int
        Which data segment of the stripe.
    data, parity : mapping of int to bytes
        The data segments and parity bundles that are left, by their number; together as many as the stripe has data segments.

    Communication
    -------------
    Local.
    """
    if group.losses == 1:
        import numpy as np

        rows = [np.frombuffer(part, np.uint8) for part in (*data.values(), *parity.values())]
        return bytes(np.bitwise_xor.reduce(rows, axis=0).data)
    headers = next(iter(parity.values()))[: group.width * _FRAGMENT_HEADER]
    fragments = [headers[number * _FRAGMENT_HEADER :][:_FRAGMENT_HEADER] + part for number, part in data.items()]
    fragments += [part[len(headers) :] for part in parity.values()]
    return bytes(_driver(group).reconstruct(fragments, [wanted])[0][_FRAGMENT_HEADER:])


def pick_groups(nodes: Sequence[Any], group_size: int) -> list[tuple[int, ...]]:
    """Group ranks so that the members of a group lie on different nodes wherever there are enough.

    Parameters
    ----------
    nodes : sequence
        The node of each rank.
    group_size : int
        Ranks in a group; some groups are larger where the ranks do not divide.

    Examples
    --------
    >>> pick_groups(["a", "a", "b", "b"], 2)
    [(0, 2), (1, 3)]
    """
    seen: dict[Any, int] = {}
    place = []
    for rank, node in enumerate(nodes):
        seen[node] = seen.get(node, -1) + 1
        place.append((seen[node], rank))
    order = [rank for _, rank in sorted(place)]
    count = max(1, len(order) // group_size)
    edges = [len(order) * index // count for index in range(count + 1)]
    return [tuple(order[start:stop]) for start, stop in pairwise(edges)]


def _driver(group: ParityGroup) -> Any:
    from pyeclib.ec_iface import ECDriver

    return ECDriver(k=group.width, m=group.losses, ec_type="isa_l_rs_cauchy")
