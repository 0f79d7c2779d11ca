"""Numbers of a run, one row per epoch: to ``metrics.csv`` always, to TensorBoard when it is installed."""

import csv
import importlib.util
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO


class MetricsWriter:
    """Appends rows of named numbers; one rank has one.

    Parameters
    ----------
    folder : Path
        Gets ``metrics.csv``, and ``tensorboard/`` if the package is there.
    resume_after : int
        Rows of later epochs are dropped: a run that comes back from a checkpoint writes them again.

    Communication
    -------------
    Local.
    """

    def __init__(self, folder: Path, resume_after: int = 0) -> None:
        self._path = folder / "metrics.csv"
        rows = self._kept(resume_after)
        self._file: TextIO = self._path.open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None
        for row in rows:
            self._append(row)
        self._board = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_after + 1)

    def write(self, epoch: int, **numbers: float) -> None:
        """Append the row of an epoch; it is on disk when this returns."""
        self._append({"epoch": epoch, **numbers})
        self._file.flush()
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _append(self, row: dict[str, float] | dict[str, str]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow(row)

    def _kept(self, resume_after: int) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= resume_after]
