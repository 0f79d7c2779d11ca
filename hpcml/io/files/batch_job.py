"""Which job of a batch system this is, and whether another one is over. Standard library only: the keeper imports this file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import subprocess

_ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "REVOKED")
)
_WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"))
"""States of a job that has run before and waits to be started again."""
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job.

    Attributes
    ----------
    id : str
        Its number; empty outside of any.
    restart : int
        How often Slurm has put it back into the queue.
    cluster : str
        Slurm's name of the cluster; empty for other batch systems.
    """

    id: str = ""
    restart: int = 0
    cluster: str = ""

    @classmethod
    def this(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The job that this process belongs to.

        Examples
        --------
        >>> BatchJob.this({"SLURM_JOB_ID": "17", "SLURM_CLUSTER_NAME": "tiger"})
        BatchJob(id='17', restart=0, cluster='tiger')
        """
        if "SLURM_JOB_ID" in environ:
            restart = environ.get("SLURM_RESTART_COUNT", "")
            return cls(environ["SLURM_JOB_ID"], int(restart) if restart.isdecimal() else 0, environ.get("SLURM_CLUSTER_NAME", "slurm"))
        return cls(next((environ[name] for name in ("PBS_JOBID", "LSB_JOBID") if name in environ), ""))

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """The job that a record describes."""
        return cls(str(record.get("job", "")), int(record.get("restart", 0)), str(record.get("cluster", "")))

    def over(self) -> str | None:
        """Why it can be at nothing any more, in words; None where that is not known.

        Communication
        -------------
        Local; it may ask Slurm, which takes a moment.
        """
        if not self.cluster:
            return None
        mine = self.this()
        if (mine.id, mine.cluster) == (self.id, self.cluster):
            return f"job {self.id} was started again" if mine.restart > self.restart else None
        state = _ask(self.id)
        if state is None or (mine.cluster or _cluster()) != self.cluster:
            return None
        return f"Slurm says that job {self.id} is over ({state})" if state in _ENDED or state in _WAITING else None


def _ask(job: str) -> str | None:
    """State of a job by Slurm; None without an answer."""
    answer = _run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")
    if answer is None:
        return None
    if answer.returncode:
        return "COMPLETED" if "Invalid job id" in answer.stderr else None  # Slurm forgets a job some minutes after its end
    return answer.stdout.split()[0] if answer.stdout.split() else "COMPLETED"


def _cluster() -> str:
    """Name of the cluster that Slurm's commands speak to; a login node's environment does not have it."""
    answer = _run("scontrol", "show", "config")
    lines = (line.partition("=") for line in answer.stdout.splitlines()) if answer else ()
    return next((value.strip() for name, _, value in lines if name.strip() == "ClusterName"), "")


def _run(*command: str) -> "subprocess.CompletedProcess[str] | None":
    import subprocess  # a keeper, which starts in no time, does not need it

    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")} | {"LC_ALL": "C"}
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
