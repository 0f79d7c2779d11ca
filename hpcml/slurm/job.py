"""A batch job: what is to run, and what is asked for."""

import re
from dataclasses import dataclass
from unicodedata import category

from hpcml.core.errors import ConfigError
from hpcml.slurm.time_limit import format_time, parse_time

KINDS = ("train", "online", "generate", "array", "container", "rollout", "evaluate", "bench")
RESUMING = KINDS[:5]
"""Kinds that go on from what was saved; the others begin anew."""
GRACE_S = 180
MOST_NODES, MOST_RESTARTS = 1_000_000, 10_000
"""No system has more nodes, and no job that came back as often was ever about to end."""

_NAME = re.compile(r"\w[\w.@:,+/-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One task of an array: the name of its run directory, and what it changes in the case."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A batch job, checked.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    case : str
        Case file, seen from where the job starts; name of the benchmark; empty where the run directory says all.
    run : str
        Run directory; of an array, the folder of its runs. Empty where there is none.
    out : str
        Folder of the dataset to be generated.
    nodes : int
        Nodes to ask for.
    time : str
        Limit, in any of Slurm's forms.
    account, partition, qos : str
        Who pays, where, and how urgently; empty for the site's own choice.
    options : tuple of str
        Further options of the batch system, each as on its command line.
    grace : int or None
        Seconds before the limit at which the run is told to save: several times what a step and a checkpoint take. By default three
        minutes, or a quarter of a shorter limit.
    restarts : int
        How often the job may put itself into the queue again.
    overrides : tuple of str
        Values of the case to change, ``key=value``.
    image : str
        Apptainer image of a container.
    rows : tuple of Row
        Tasks of an array.
    preflight : bool
        Whether the nodes are looked at first, see `hpcml.runs.preflight`.
    spare_nodes : int or None
        Nodes to ask for besides, which stand by. When nodes die the same job goes on from the last checkpoint: on those that stood by, then
        on those that are left. None for a job that goes back into the queue instead.

    Raises
    ------
    ConfigError
        For what no batch system takes, naming the value.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> Job("train", "case.toml", run="runs/case", time="2h")
    Traceback (most recent call last):
    hpcml.core.errors.ConfigError: time '2h': write 02:00:00; Slurm takes minutes, minutes:seconds, hours:minutes:seconds or days-hours
    """

    kind: str
    case: str = ""
    run: str = ""
    out: str = ""
    nodes: int = 1
    time: str = "01:00:00"
    account: str = ""
    partition: str = ""
    qos: str = ""
    options: tuple[str, ...] = ()
    grace: int | None = None
    restarts: int = 10
    overrides: tuple[str, ...] = ()
    image: str = ""
    rows: tuple[Row, ...] = ()
    preflight: bool = False
    spare_nodes: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind of job {self.kind!r}: expected one of {', '.join(KINDS)}")
        if not (1 <= self.nodes <= MOST_NODES and 0 <= self.restarts <= MOST_RESTARTS):
            raise ConfigError(
                f"expected 1 to {MOST_NODES} nodes and 0 to {MOST_RESTARTS} restarts, got {self.nodes} and {self.restarts}: take fewer"
            )
        if self.spare_nodes is not None and not (self.run and self.resumes and 0 <= self.spare_nodes <= MOST_NODES):
            raise ConfigError(
                f"spare nodes {self.spare_nodes} of {self.kind}: expected 0 to {MOST_NODES}, of a job that goes on from checkpoints"
            )
        for key in ("case", "run", "out", "image"):
            check_line(key, getattr(self, key))
        for row in self.rows:
            check_line("name of a run", row.name)
        for value in (*self.overrides, *(value for row in self.rows for value in row.overrides)):
            check_line("--set", value)
        for key in ("account", "partition", "qos"):
            if (value := getattr(self, key)) and not _NAME.fullmatch(value):
                raise ConfigError(f"{key} {value!r}: expected a name of letters, digits and any of _.@:,+/-")
        for option in self.options:
            check_line("option", option)
            if option[:1] != "-":
                raise ConfigError(f"option {option!r}: expected one of the batch system's, as in --option=--exclusive")
        limit = self.limit
        if limit is not None and self.grace is not None and not 0 < 2 * self.grace <= limit:
            raise ConfigError(f"grace {self.grace}: expected between 1 and {limit // 2} s, half of the time limit {format_time(limit)}")

    @property
    def limit(self) -> int | None:
        """Seconds that the job may take."""
        return parse_time(self.time)

    @property
    def notice(self) -> int:
        """Seconds before the limit at which the run is told."""
        return self.grace if self.grace is not None else GRACE_S if self.limit is None else max(1, min(GRACE_S, self.limit // 4))

    @property
    def name(self) -> str:
        """Of the job in the queue: that of what it makes."""
        return (self.run or self.out or self.case).rstrip("/").rpartition("/")[2] or self.kind

    @property
    def resumes(self) -> bool:
        """Whether another start goes on from what was saved."""
        return self.kind in RESUMING


def check_line(name: str, value: str) -> None:
    """Refuse what would end its line of the script: the next one would be taken for a line of its own.

    Raises
    ------
    ConfigError
        Naming the value.

    Communication
    -------------
    Local.
    """
    if any(category(character) in ("Cc", "Zl", "Zp") for character in value):
        raise ConfigError(f"{name} {value!r} holds a line break or another control character: a job script takes values of one line")
