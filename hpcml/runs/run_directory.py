"""The folder that a run leaves behind.

runs/NAME/
├── config.toml        the case with every default resolved
├── status.json        whether it runs, has finished, was stopped, or failed and why
├── environment.json   versions, host, threads, variables
├── ways.json          which of several ways was taken where both are right, and the measurement behind it
├── log/               one file per rank
├── metrics.csv        a row per epoch, or some updates
├── data/              what was simulated to learn from
├── checkpoints/       what `hpcml train` resumes from
└── snapshots/         what `hpcml rollout` writes and `hpcml export` draws
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.config import read_tables, to_toml
from hpcml.core.environment import capture_environment
from hpcml.core.errors import ConfigError
from hpcml.core.json_text import parse_json
from hpcml.core.named import complete_config
from hpcml.core.regular import read_regular
from hpcml.io.files.remedy import remedy
from hpcml.io.files.replace import write_file
from hpcml.kernels.ways import take_ways, taken_ways
from hpcml.mpi.agreement import agree_on_error

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved case."""
        return self.path / "config.toml"

    @property
    def log(self) -> Path:
        """Folder of the ranks' log files."""
        return self.path / "log"

    @property
    def data(self) -> Path:
        """Folder of what was simulated."""
        return self.path / "data"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """Folder of snapshots."""
        return self.path / "snapshots"

    def begin(self, case: Case, comm: MPI.Intracomm) -> None:
        """Make the folder a run of a case, or accept that it is one, to be gone on with on whatever ranks.

        A folder in which nothing was learnt yet is of no case: an attempt that failed before its first checkpoint leaves it to the next.

        Raises
        ------
        ConfigError
            On every rank, if the folder holds a run of another case, naming the values that differ, or cannot be written.

        Communication
        -------------
        Collective over comm; rank 0 writes.
        """
        self._on_the_first(lambda: self._write(case), comm)

    def describe(self, comm: MPI.Intracomm) -> None:
        """Write `environment.json`, once no other job can be at this run.

        Errors and communication are those of `begin`.
        """
        library = MPI.Get_library_version().strip("\x00").splitlines()[0].strip()
        self._on_the_first(lambda: self._write_environment(library), comm)

    def take_ways(self, comm: MPI.Intracomm) -> None:
        """Go the ways that this run went before, whatever is faster here: they may differ in the last bits.

        Errors and communication are those of `begin`.
        """
        self._on_the_first(self._take_ways, comm)

    def record_ways(self, comm: MPI.Intracomm) -> None:
        """Write `ways.json`, once the model is made. Errors and communication are those of `begin`."""
        self._on_the_first(lambda: write_file(self.path / "ways.json", (json.dumps(taken_ways(), indent=2) + "\n").encode()), comm)

    def _take_ways(self) -> None:
        path = self.path / "ways.json"
        try:
            take_ways(parse_json(read_regular(path, _MOST_BYTES)))
        except FileNotFoundError:
            take_ways({})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{path} is not as hpcml writes it: {said}; without it the ways are chosen anew") from error

    def _on_the_first(self, write: Callable[[], Any], comm: MPI.Intracomm) -> None:
        error: Exception | None = None
        if comm.rank == 0:
            try:
                write()
            except ConfigError as caught:
                error = caught
            except OSError as caught:
                error = ConfigError(f"cannot make the run directory {self.path}: {caught}{remedy(caught.errno)}")
        agree_on_error(error, comm)

    def case(self) -> Case:
        """The case of a run that exists.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if not self.config.exists():
            raise ConfigError(f"{self.path} is not a run directory: it has no config.toml; `hpcml train CASE --run {self.path}` makes one")
        tables, _ = read_tables(self.config)
        training = tables.get("training")
        if isinstance(training, dict) and "weight_decay" in training and "optimiser" not in training:  # where version 0.1 wrote it
            training["optimiser"] = {"name": "adamw", "weight_decay": training.pop("weight_decay")}
        return complete_config(tables, Case, str(self.config))

    def _write(self, case: Case) -> None:
        for folder in (self.path, self.log, self.checkpoints, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True)
        if self.config.exists() and any(self.checkpoints.glob("step-*")):
            there = self.case()
            goes_on = _goes_on(there, case)
            differences = [*_differences(_identity(there, goes_on), _identity(case, goes_on))]
            if differences:
                raise ConfigError(
                    f"{self.path} holds a run of another case: choose another folder with --run, or give the same case to go on with it. "
                    "There and here:\n" + "\n".join(f"  {line}" for line in differences)
                )
        text = to_toml(case).encode()
        if not _holds(self.config, text):
            write_file(self.config, text)

    def _write_environment(self, library: str) -> None:
        write_file(self.path / "environment.json", (json.dumps(capture_environment(library), indent=2) + "\n").encode())


def _holds(path: Path, text: bytes) -> bool:
    """Whether a file is there and holds a text; what else may be there is replaced."""
    with suppress(OSError):
        return read_regular(path, len(text)) == text
    return False


def _goes_on(there: Case, here: Case) -> bool:
    """Whether a case trains for as long as another one or longer, counted the same way."""
    old, new = there.training, here.training
    if old.updates is None or new.updates is None:
        return old.updates == new.updates and new.epochs >= old.epochs
    return new.updates >= old.updates


def _identity(case: Case, goes_on: bool) -> dict[str, Any]:
    """What makes two cases the same: not how ranks share the work, what is made of results, nor when a later case
    ends, unless it plans for less."""
    training = {"early_stopping", *(("epochs", "updates") if goes_on else ())}
    return {**case.model_dump(mode="json", exclude={"ranks": True, "training": training, "output": True})}


def _differences(there: dict[str, Any], here: dict[str, Any], table: str = "") -> Iterator[str]:
    """Values that differ, one line each."""
    for key in dict.fromkeys([*there, *here]):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{table}{key}.")
        elif old != new:
            yield f"{table}{key}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
