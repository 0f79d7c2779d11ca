"""What a trained model gave, for post-processing of one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from hpcml.core.options import Choice, build_function
from hpcml.parallel.space import Space


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model gave, beside what is true: this rank's blocks.

    Attributes
    ----------
    space : Domain or Graph
        Where the fields live; ``space.gather`` makes whole fields of this rank's part.
    folder : Path
        Run directory, to write what one likes in; from rank 0, or every rank a file of its own.
    source : str
        ``rollout``, or the name of a held-out set.
    step : int
        Of a roll-out, 0 being the state that it starts from; of an evaluation, the number of the first sample.
    time : float or None
        Of the state; None where samples have none.
    channels : tuple of str
        Names of the channels; none where data do not say.
    truth, prediction : Tensor
        (sample, channel, *local_shape) on a grid, (sample, node, channel) on a mesh, in the units of the data.
    """

    space: Space
    folder: Path
    source: str
    step: int
    time: float | None
    channels: tuple[str, ...]
    truth: Tensor
    prediction: Tensor


class PostProcessing:
    """Calls what a case names with every outcome, and its method ``close``, if it has one, when all have come.

    Parameters
    ----------
    choice : Choice or None
        Name and options of a function or a class; None for nothing.

    Raises
    ------
    ConfigError
        Where there is nothing of that name.

    Communication
    -------------
    As what is named: every rank calls it alike.
    """

    def __init__(self, choice: Choice | None) -> None:
        self._process: Callable[[Outcome], Any] | None = None if choice is None else build_function("postprocess", choice)

    def __call__(self, outcome: Outcome) -> None:
        """Hand over an outcome."""
        if self._process is not None:
            self._process(outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and callable(close := getattr(self._process, "close", None)):
            close()
