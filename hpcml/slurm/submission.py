"""A job that was submitted: its script and its number lie in the folder of what it makes."""

import json
import os
import re
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hpcml.core.errors import ConfigError
from hpcml.core.json_text import parse_json
from hpcml.core.regular import read_regular
from hpcml.io.files.replace import write_file
from hpcml.slurm.ask import ask
from hpcml.slurm.job import Job
from hpcml.slurm.site import Site

SCRIPT, RECORD = "job.sh", "job.json"
_MOST_BYTES = 1 << 20
_REMEDIES = (
    ("partition", "give another --partition: sinfo -s lists them"),
    ("time limit", "give a shorter --time: sinfo -s shows the limit of each partition"),
    ("node count", "give fewer --nodes, or another --partition: sinfo -s shows how many there are"),
    ("more processors", "give fewer --nodes, or a site file with fewer ranks_per_node and cpus_per_rank"),
    ("node configuration", "give a site file whose ranks_per_node, cpus_per_rank and options the nodes have: sinfo -Nl lists them"),
    ("account", "give an --account that you may use: sacctmgr show associations user=$USER"),
    ("qos", "give another --qos: sacctmgr show qos"),
    ("gres", "give a site file whose options name the GPUs that the nodes have: sinfo -o '%P %G' lists them"),
)
"""What to do, by words of a refusal."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What was submitted.

    Attributes
    ----------
    scheduler, id : str
        The batch system and its number of the job.
    script, folder : str
        The script, and where the job runs.
    output : str
        What the job prints; of Slurm with its patterns.
    submitted : str
        When.
    """

    scheduler: str
    id: str
    script: str
    folder: str
    output: str
    submitted: str


def folder_of(job: Job) -> Path:
    """Where the script and the number of a job go: the folder of what it makes; of one that adds to a run, a folder in that."""
    if job.kind == "bench":
        return Path("jobs") / f"bench-{job.case}"
    return Path(job.run or job.out) / ("" if job.resumes else job.kind)


def submit(job: Job, site: Site, script: str, again: str = "") -> Submission:
    """Write a script beside what the job makes, and submit it.

    Parameters
    ----------
    job, site : Job, Site
        What the script was rendered from.
    script : str
        Plain bash.
    again : str
        Number of a job that this one waits for.

    Raises
    ------
    ConfigError
        Where the folder cannot be written, or the batch system refuses, with what to do.

    Communication
    -------------
    Local.
    """
    if site.scheduler == "local":
        raise ConfigError(f"{site.description} has no batch system: save the script of `hpcml job render` and run it with bash")
    folder = folder_of(job)
    path = folder / SCRIPT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, os.fsencode(script))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; free some space, or choose another folder with --run") from None
    output = f"{job.name}-%A-%a.out" if job.rows else f"{job.name}-%j.out"
    return send(Submission(site.scheduler, "", str(path.absolute()), str(Path.cwd()), output, ""), again)


def send(submission: Submission, after: str = "") -> Submission:
    """Submit a script that is there, and note its number beside it.

    Raises
    ------
    ConfigError
        As `submit`; for a script of another user, which a run of theirs may name.

    Communication
    -------------
    Local.
    """
    command = {
        "slurm": ("sbatch", "--parsable", f"--chdir={submission.folder}", *([f"--dependency=afterany:{after}"] if after else [])),
        "pbs": ("qsub", *(["-W", f"depend=afterany:{after}"] if after else [])),
        "flux": ("flux", "batch", *([f"--dependency=afterany:{after}"] if after else [])),
    }[submission.scheduler]
    _check_owner(Path(submission.script))
    try:
        said = ask(*command, submission.script)
    except ConfigError as error:
        remedy = next((remedy for words, remedy in _REMEDIES if words in str(error).lower()), f"the script is {submission.script}")
        raise ConfigError(f"{error}; {remedy}") from None
    number = said.split()[0].partition(";")[0]
    sent = Submission(**{**asdict(submission), "id": number, "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    path = Path(submission.script).with_name(RECORD)
    try:
        write_file(path, (json.dumps(asdict(sent), indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"job {number} was submitted, but its number cannot be noted in {path}: {error.strerror}") from None
    return sent


def _check_owner(script: Path) -> None:
    try:
        entry = script.lstat()
    except OSError as error:
        raise ConfigError(f"cannot read {script}: {error.strerror}; submit the job again") from None
    if entry.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{script} belongs to the user {entry.st_uid} and would run as you: look at it, and submit a script of your own")


def read_submission(folder: Path) -> Submission:
    """The job that was submitted last for a folder.

    Raises
    ------
    ConfigError
        If none was, by this command.

    Communication
    -------------
    Local.
    """
    path = folder / RECORD
    try:
        found = Submission(**parse_json(read_regular(path, _MOST_BYTES)))
        if not all(isinstance(value, str) for value in asdict(found).values()):
            raise TypeError("expected texts alone")
        return found
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} has no {RECORD}: nothing was submitted for it by `hpcml job submit`; give the number of the job"
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} is not as hpcml writes it: {said}; submit the job again, or give its number") from None


def output_of(submission: Submission, number: str = "") -> Path | None:
    """The file that a job prints to, if it is there; of an array, that of one of its tasks.

    Communication
    -------------
    Local.
    """
    of, _, task = (number or submission.id).partition("_")
    name = submission.output.replace("%j", of).replace("%A", of)
    found = sorted(Path(submission.folder).glob(re.sub(r"([\[\]?*])", r"[\1]", name).replace("%a", task or "*")))
    return found[-1] if found else None


def shown(submission: Submission) -> str:
    """One line for people."""
    return f"job {submission.id}, script {shlex.quote(submission.script)}, submitted {submission.submitted}"
