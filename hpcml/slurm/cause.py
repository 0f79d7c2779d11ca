"""Why a job ended: what the batch system, the run and the job's own output say, the surest first."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.core.regular import open_regular
from hpcml.slurm.queued_job import QueuedJob

_TAIL = 1 << 20
_START = re.compile(r"^job \S+, start \d+, on ", re.MULTILINE)
SAVE = "it goes on from the last checkpoint: hpcml job resume"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job ended.

    Attributes
    ----------
    kind : str
        In two or three words.
    evidence : str
        What says so.
    remedy : str
        What to do.
    """

    kind: str
    evidence: str
    remedy: str


_BY_STATE = {
    "OUT_OF_MEMORY": (
        "out of memory",
        "take more nodes, fewer ranks per node, or smaller values of grid.shape, model.channels or batch_size",
    ),
    "NODE_FAIL": ("node failure", f"{SAVE}; keep off a bad node by --option=--exclude=NODE"),
    "BOOT_FAIL": ("node failure", f"{SAVE}; keep off a bad node by --option=--exclude=NODE"),
    "PREEMPTED": ("preemption", SAVE),
    "TIMEOUT": ("time limit", f"{SAVE}; a longer --grace leaves more time to save"),
    "DEADLINE": ("time limit", SAVE),
}
_BY_TEXT = (
    ("out of memory", r"oom[_-]kill|out of memory|outofmemory|can't allocate memory|memory is short", _BY_STATE["OUT_OF_MEMORY"][1]),
    ("node failure", r"DUE TO NODE FAILURE|Node failure on", _BY_STATE["NODE_FAIL"][1]),
    ("preemption", r"DUE TO PREEMPTION", SAVE),
    (
        "disk full",
        r"No space left on device|disk is full|quota is used up|Disk quota exceeded",
        "free some space, or run in another folder",
    ),
    ("NaN", r"training diverged at step|holds NaN|no finite value", "lower training.learning_rate, or set training.clip = 1.0"),
    ("lost rank", r"whose process \d+ has ended", SAVE),
    ("hang", r"has waited \d+ s in", "the line above names the rank and the call that did not come"),
    ("wrong launcher", r"belongs to another MPI|finds no MPI library|PMI2?_Init|invalid MPI type", "see docs/howto/site_mpi.md"),
    (
        "no environment",
        r": command not found|hpcml: No such file|hpcml: not found|No module named",
        "give --environment DIR, or mend the site file",
    ),
    ("user's error", r"^hpcml: error: .*", "correct what it names, then: hpcml job resume"),
    ("time limit", r"DUE TO TIME LIMIT", _BY_STATE["TIMEOUT"][1]),
    (
        "signal",
        r"Segmentation fault|Bus error|Illegal instruction|Fatal Python error: |exited on signal \d+|signal (?:6|9|11)\b|Killed\b",
        f"see the lines before it; {SAVE}",
    ),
    (
        "exception",
        r"\bTraceback \(most recent call last\)(?:[^\n]*(?:\n[ \t][^\n]*)*\n(\w[^\n]*))?",
        "the last lines of the output name the place",
    ),
    ("lost rank", r"ranks were lost", SAVE),
)
_WAITS = {
    "Resources": "the nodes are taken",
    "Priority": "others come first",
    "BeginTime": "it was put back into the queue and starts in two minutes at the earliest",
    "Dependency": "another job has to end first",
    "DependencyNeverSatisfied": "the job that it waits for has failed: cancel this one",
    "JobHeldUser": "held: scontrol release JOB",
    "JobHeldAdmin": "held by the administrators: ask them why",
    "PartitionTimeLimit": "its --time is longer than the partition allows: cancel it and give a shorter one",
    "PartitionNodeLimit": "it asks for more nodes than the partition has: cancel it and give fewer",
    "PartitionConfig": "it asks for what the partition does not have: cancel it, and give fewer nodes or another --partition",
    "ReqNodeNotAvail": "nodes are reserved or down",
}


def find_cause(job: QueuedJob | None, status: Mapping[str, Any] | None, output: str) -> Cause:
    """Why a job is not running, or that it is.

    Parameters
    ----------
    job : QueuedJob or None
        What Slurm says; None where it has forgotten the job.
    status : mapping or None
        What the run says, as `hpcml.runs.run_status.read_status` gives it.
    output : str
        What the job printed, its end at least.

    Communication
    -------------
    Local.
    """
    if job is not None and job.runs:
        return Cause("it runs", f"{job.state} on {job.nodes}", "hpcml job status shows how far it is")
    state = (status or {}).get("state")
    said = str((status or {}).get("message") or "")
    part = output[[0, *(found.start() for found in _START.finditer(output))][-1] :]
    before = _of_output(part, said) if state != "finished" else None
    if job is not None and job.waits:
        last = f"; its last start ended by: {before.kind} ({before.evidence})" if before and job.restarts else ""
        return Cause(
            "it waits", f"{job.reason or job.state}: {_WAITS.get(job.reason.partition(',')[0], 'see squeue --start')}{last}", "wait"
        )
    if state == "finished":
        return Cause("it finished", "status.json says so", "nothing is to be done")
    if job is not None and job.state in _BY_STATE:
        kind, remedy = _BY_STATE[job.state]
        return Cause(kind, f"Slurm says {job.state}", remedy)
    if before is not None:
        return before
    if job is not None and job.state == "CANCELLED":
        return Cause("cancelled", "Slurm says CANCELLED", SAVE)
    if state == "stopped" or (job is not None and job.exit_status == 85 and state != "killed"):
        return Cause("stopped as asked", said or "exit status 85", SAVE)
    if job is not None and (signal := job.signal or (job.exit_status or 0) - 128) > 0:
        return Cause("signal", f"signal {signal}", SAVE)
    if state == "failed":
        return Cause("exception", said, "the last lines of the output name the place")
    if job is not None and job.state == "COMPLETED":
        return Cause("it finished", "Slurm says COMPLETED", "nothing is to be done")
    known = f"Slurm says {job.state}, exit status {job.exit_status}" if job is not None else "Slurm has forgotten the job"
    return Cause("unknown", f"{known}, and its output shows no error", "read its output")


def _of_output(part: str, said: str) -> Cause | None:
    """By the first of the rules that a line fits."""
    for kind, pattern, remedy in _BY_TEXT:
        found = re.search(pattern, f"{part}\n{said}", re.IGNORECASE | re.MULTILINE)
        if found:
            text = f"{part}\n{said}"
            at = found.start(found.re.groups if found.re.groups and found[found.re.groups] else 0)
            line = text[text.rfind("\n", 0, at) + 1 :].partition("\n")[0].strip()
            return Cause(kind, line[:300], remedy)
    return None


def end_of(path: Path | None) -> str:
    """End of a job's output; empty where there is none.

    Communication
    -------------
    Local.
    """
    try:
        if path is None:
            return ""
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""
