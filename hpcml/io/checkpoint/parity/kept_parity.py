"""The parity that a keeper holds for its group: two halves of memory, so that one is whole while the other is written.

Standard library only, but for what `parity` imports to compute.
"""

import mmap
from dataclasses import asdict, dataclass
from typing import Any

from hpcml.io.checkpoint.parity.parity_group import ParityGroup, encode


@dataclass(slots=True)
class KeptParity:
    """Parity of the stripes that one member holds.

    Attributes
    ----------
    group : ParityGroup
        The group.
    member : int
        Which of its members this is.
    incoming : mmap.mmap
        Data segments of the other members, stripe by stripe.
    fd : int
        Memory of the parity: half 0, half 1, each a bundle per stripe.
    headers : list
        What each half is the parity of; None while it is not whole.
    """

    group: ParityGroup
    member: int
    incoming: mmap.mmap
    fd: int
    memory: mmap.mmap
    headers: list[dict[str, Any] | None]

    @classmethod
    def from_message(cls, message: dict[str, Any], files: list[int]) -> "KeptParity":
        """Take what the rank sends."""
        fields = message["group"]["group"]
        group = ParityGroup(tuple(fields["members"]), fields["losses"], fields["segment"])
        incoming = mmap.mmap(files[0], 0, access=mmap.ACCESS_READ)
        return cls(group, message["group"]["member"], incoming, files[1], mmap.mmap(files[1], 0), message["headers"])

    def offer(self) -> dict[str, Any]:
        """What a restarted run must know to use this parity; the memory goes with it."""
        return {"group": asdict(self.group), "member": self.member, "headers": self.headers}

    def encode(self, half: int, header: dict[str, Any]) -> None:
        """Compute the parity of every stripe held here from the segments that have arrived."""
        self.headers[half] = None
        stripe_bytes = self.group.width * self.group.segment
        with memoryview(self.incoming) as incoming:
            for place, stripe in enumerate(self.group.stripes_held(self.member)):
                number = self.group.holders(stripe).index(self.member)
                bundle = encode(self.group, number, incoming[place * stripe_bytes : (place + 1) * stripe_bytes])
                start = (half * self.group.losses + place) * self.group.bundle
                self.memory[start : start + len(bundle)] = bundle
        self.headers[half] = header
