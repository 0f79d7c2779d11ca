"""Commands of a batch system, and what they say."""

import os
import subprocess

from hpcml.core.errors import ConfigError
from hpcml.slurm.queued_job import QueuedJob, parse_jobs

ANSWER_SECONDS = 60.0


def ask(*command: str, text: str | None = None) -> str:
    """What a command prints.

    Parameters
    ----------
    *command : str
        Name and arguments.
    text : str, optional
        What it is to read.

    Raises
    ------
    ConfigError
        Where there is no such command, it does not answer, or it refuses, in its own words.

    Communication
    -------------
    Local.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SACCT_"))} | {"LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, errors="replace", timeout=ANSWER_SECONDS, env=environment
        )
    except FileNotFoundError:
        raise ConfigError(f"there is no command {command[0]} here: run this on a login node of the cluster, or load its module") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s: the batch system is busy or down; try again later"
        ) from None
    if done.returncode:
        said = " ".join(line.removeprefix(f"{command[0]}: ").removeprefix("error: ") for line in done.stderr.splitlines() if line.strip())
        raise ConfigError(f"{command[0]} refuses: {said or f'exit status {done.returncode}'}")
    return done.stdout


def jobs_in_queue(*ids: str) -> list[QueuedJob]:
    """Jobs of these numbers, or all of one's own, that Slurm still has; for those that ended long ago, what accounting knows.

    Raises
    ------
    ConfigError
        As `ask`.

    Communication
    -------------
    Local.
    """
    if not ids:
        return parse_jobs(ask("squeue", "--json", "--user", str(os.getuid())))
    found = {job.id: job for job in parse_jobs(ask("squeue", "--json", "--states=all")) if {job.id, job.id.partition("_")[0]} & {*ids}}
    forgotten = [number for number in ids if not any(number in (job.id, job.id.partition("_")[0]) for job in found.values())]
    if forgotten:
        try:
            found |= {job.id: job for job in parse_jobs(ask("sacct", "--json", f"--jobs={','.join(forgotten)}"))}
        except ConfigError:  # a cluster without accounting
            return [*found.values()]
    return [*found.values()]
