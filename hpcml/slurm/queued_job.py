"""How a batch system sees a job, read from the JSON of squeue or sacct, whose fields differ from version to version.

22.05         "job_state": "FAILED"      "restart_cnt": 1                                  "exit_code": 256
23.02         "job_state": "FAILED"      "restart_cnt": {"set": true, "number": 1, ...}    "exit_code": {"set": ..., "number": 256}
23.11 to 26   "job_state": ["FAILED"]    as 23.02                                          "exit_code": {"return_code": {"number": 1}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcml.core.errors import ConfigError
from hpcml.core.json_text import parse_json

_FLAGS = ("COMPLETING", "REQUEUED", "CONFIGURING", "STAGE_OUT", "SIGNALING", "RESIZING", "UPDATE_DB", "POWER_UP_NODE", "LAUNCH_FAILED")
"""What Slurm says beside a state."""
WAITING, RUNNING = ("PENDING", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"), ("RUNNING", "SUSPENDED", "STOPPED")


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as Slurm sees it.

    Attributes
    ----------
    id, name : str
        Its number and its name; of a task of an array ``array_task``.
    state, reason : str
        In Slurm's words, as in ``PENDING`` and ``Resources``.
    nodes : str
        Names of its nodes; empty while it waits.
    start, end : int or None
        When it began, and when it ended or will at the latest, in seconds since 1970.
    limit : int or None
        Seconds that it may take.
    restarts : int
        How often it went back into the queue.
    exit_status, signal : int or None
        Of the script.
    script, folder : str
        Path of the script that was submitted, and where it runs.
    """

    id: str
    name: str
    state: str
    reason: str = ""
    nodes: str = ""
    start: int | None = None
    end: int | None = None
    limit: int | None = None
    restarts: int = 0
    exit_status: int | None = None
    signal: int | None = None
    script: str = ""
    folder: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is in the queue."""
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        """Whether it is on its nodes."""
        return self.state in RUNNING


def parse_jobs(text: str) -> list[QueuedJob]:
    """Read what ``squeue --json`` or ``sacct --json`` has printed.

    Raises
    ------
    ConfigError
        For what is no such text.

    Communication
    -------------
    Local.
    """
    try:
        records = parse_json(text)["jobs"]
        return [_parse(record) for record in records]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(f"Slurm's answer is not as expected ({type(error).__name__}: {error}): does its version know --json?") from error


def _parse(record: Mapping[str, Any]) -> QueuedJob:
    accounted = isinstance(record.get("state"), Mapping)  # by sacct
    state = record["state"] if accounted else {"current": record["job_state"], "reason": record.get("state_reason", "")}
    times = (
        record["time"]
        if accounted
        else {"start": record.get("start_time"), "end": record.get("end_time"), "limit": record.get("time_limit")}
    )
    status, signal = _exit(record.get("exit_code"))
    minutes = _number(times.get("limit"))
    return QueuedJob(
        id=_id(record),
        name=str(record.get("name", "")),
        state=_state(state["current"]),
        reason="" if state.get("reason") in (None, "None") else str(state["reason"]),
        nodes="" if record.get("nodes") in (None, "None assigned") else str(record["nodes"]),
        start=_number(times.get("start")) or None,
        end=_number(times.get("end")) or None,
        limit=None if minutes is None else 60 * minutes,
        restarts=_number(record.get("restart_cnt")) or 0,
        exit_status=status,
        signal=signal,
        script=str(record.get("command") or ""),
        folder=str(record.get("current_working_directory") or record.get("working_directory") or ""),
    )


def _id(record: Mapping[str, Any]) -> str:
    array = record.get("array")
    of, task = (
        (array.get("job_id"), array.get("task_id"))
        if isinstance(array, Mapping)
        else (record.get("array_job_id"), record.get("array_task_id"))
    )
    parent, number = _number(of), _number(task)
    return f"{parent}_{number}" if parent and number is not None else str(record["job_id"])


def _number(value: Any) -> int | None:
    """A number, or Slurm's table of one that may be unset or infinite."""
    if isinstance(value, Mapping):
        return int(value["number"]) if value.get("set") and not value.get("infinite") else None
    return None if value is None or value == "" else int(value)


def _state(value: Any) -> str:
    words = [value] if isinstance(value, str) else [*value]
    return next((word for word in words if word not in _FLAGS), words[0])


def _exit(value: Any) -> tuple[int | None, int | None]:
    """Status and signal: of `wait`, in one number, before they got a table each."""
    if isinstance(value, Mapping) and "return_code" in value:
        signal = value.get("signal") or {}
        return _number(value["return_code"]), _number(signal.get("id", signal.get("signal_id"))) or None
    number = _number(value)
    return (None, None) if number is None else (number >> 8, number & 0x7F or None)
