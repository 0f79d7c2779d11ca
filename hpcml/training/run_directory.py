"""The folder that a run leaves behind.

runs/NAME/
├── config.toml        the case with every default resolved
├── environment.json   versions, host, threads, variables
├── log/               one file per rank
├── metrics.csv        a row per epoch
├── checkpoints/       what `hpcml train` resumes from
└── snapshots/         what `hpcml rollout` writes and `hpcml export` draws
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.config import load_config, to_toml
from hpcml.core.environment import write_environment
from hpcml.core.errors import ConfigError
from hpcml.mpi.agreement import agree_on_error


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
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """Folder of snapshots."""
        return self.path / "snapshots"

    def begin(self, case: Case, comm: MPI.Intracomm) -> None:
        """Make the folder for a case, or accept that it is a run of the same case, to be gone on with.

        Raises
        ------
        ConfigError
            On every rank, if the folder holds a run of another case, naming the lines that differ, or cannot be written.

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
        self._on_the_first(lambda: write_environment(self.path, library), comm)

    def _on_the_first(self, write: Callable[[], Any], comm: MPI.Intracomm) -> None:
        error: Exception | None = None
        if comm.rank == 0:
            try:
                write()
            except (ConfigError, OSError) as caught:
                error = caught if isinstance(caught, ConfigError) else ConfigError(f"cannot make the run directory {self.path}: {caught}")
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
        return load_config(self.config, Case)

    def _write(self, case: Case) -> None:
        text = to_toml(case)
        if self.config.exists() and self.config.read_text(encoding="utf-8") != text:
            old = self.config.read_text(encoding="utf-8").splitlines()
            lines = [
                line
                for line in difflib.unified_diff(old, text.splitlines(), n=0, lineterm="")
                if line[:1] in "+-" and line[:3] not in ("+++", "---")
            ]
            raise ConfigError(
                f"{self.path} holds a run of another case ({'; '.join(lines)}): "
                "choose another folder with --run, or give the same case to resume"
            )
        for folder in (self.path, self.log, self.checkpoints, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self.config.write_text(text, encoding="utf-8")
