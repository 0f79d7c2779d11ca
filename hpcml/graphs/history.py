"""What the places of a network held when a sample was last there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.io.checkpoint import Rows
from hpcml.mpi.reductions import all_min

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph


class History:
    """Rows of this rank, by the place in a network at which they were asked for and by sample.

    Attributes
    ----------
    samples : tuple of int
        What is computed now.

    Communication
    -------------
    Local, but for `load_state_dict`.
    """

    def __init__(self) -> None:
        self.samples: tuple[int, ...] = ()
        self._values: dict[str, dict[int, Tensor]] = {}

    def visit(self, samples: Sequence[int]) -> None:
        """Say which samples are computed next."""
        self.samples = tuple(map(int, samples))

    def check(self, rows: Tensor) -> None:
        """See that rows, (row, [sample,] channel), are of those samples.

        Raises
        ------
        ConfigError
            If nobody has said so, which all ranks know.
        """
        if len(self.samples) != (rows.shape[1] if rows.dim() > 2 else 1):
            raise ConfigError(
                f"this schedule goes by what samples had in the last epoch, and a batch of {tuple(rows.shape)[1:-1] or 1} comes that "
                f"nobody has numbered: call graph.visit(numbers) before the forward pass, got {len(self.samples)} numbers; "
                "hpcml.training.Trainer does so with stored data, and what comes but once has no last epoch"
            )

    def known(self, place: str, samples: Sequence[int]) -> Tensor | None:
        """Rows of some samples, (row, sample, channel); None if one was never there."""
        there = self._values.get(place, {})
        if not all(sample in there for sample in samples):
            return None
        return torch.stack([there[sample] for sample in samples], 1)

    def keep(self, place: str, rows: Tensor, samples: Sequence[int], smoothing: float = 0.0) -> None:
        """Remember rows, (row, sample, channel), or with smoothing s the mean s before + (1 - s) rows."""
        there = self._values.setdefault(place, {})
        for sample, new in zip(samples, rows.detach().unbind(1), strict=True):
            there[sample] = torch.lerp(new, there[sample], smoothing) if smoothing and sample in there else new.clone()

    def forget(self) -> None:
        """Begin anew."""
        self._values.clear()

    def state_dict(self, graph: "Graph") -> dict[str, Any]:
        """What is remembered, as `hpcml.io.checkpoint` stores it."""
        numbers = torch.cat([graph.nodes, graph.ghosts]).cpu().numpy()
        return {
            "dealt": Rows(np.array([[_checksum(numbers)]])),
            "samples": {place: list(there) for place, there in self._values.items()},
            "rows": {place: Rows(torch.stack(list(there.values()), 1)) for place, there in self._values.items()},
        }

    def load_state_dict(self, state: dict[str, Any], graph: "Graph") -> bool:
        """Go on from there, if nodes are dealt as they were; else nothing is known, and this is told.

        Communication
        -------------
        Collective over graph.comm: one number.
        """
        self.forget()
        mine, dealt = _checksum(torch.cat([graph.nodes, graph.ghosts]).cpu().numpy()), np.asarray(state["dealt"]).reshape(-1)
        if not all_min(int(len(dealt) == 1 and int(dealt[0]) == mine), graph.comm):
            return False
        for place, rows in state["rows"].items():
            each = torch.as_tensor(rows).to(graph.device).unbind(1)
            self._values[place] = {int(sample): value.clone() for sample, value in zip(state["samples"][place], each, strict=True)}
        return True


def _checksum(numbers: np.ndarray) -> int:
    """A number that two ways to deal nodes have hardly ever in common."""
    weights = np.arange(1, len(numbers) + 1, dtype=np.int64) * np.int64(2654435761)
    return int(((numbers + 1) * weights).sum() & np.int64(2**62 - 1))
