"""What is said of each save, and names its folder."""

from dataclasses import dataclass
from typing import Any

import hpcml


@dataclass(slots=True)
class Headers:
    """Headers of the saves of one start of a run.

    Attributes
    ----------
    session : str
        Name of the start.
    size : int
        Ranks that save.
    sequence : int
        Number of the newest save: it counts on across the starts of a run.
    furthest : int
        Largest step that was saved.
    """

    session: str
    size: int
    sequence: int
    furthest: int = -1

    def next(self, step: int) -> dict[str, Any]:
        """Header of one more save, after a step."""
        self.sequence += 1
        header: dict[str, Any] = {"step": step, "sequence": self.sequence, "session": self.session, "size": self.size}
        if step <= self.furthest:  # the run was set back: the earlier checkpoint of this step stays whole until this one is
            header["again"] = self.sequence
        self.furthest = max(step, self.furthest)
        return header | {"written_by": hpcml.__version__}
