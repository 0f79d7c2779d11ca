"""``hpcml job``: batch scripts, and the jobs that come of them. Runs on login nodes: no MPI, torch or CuPy."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcml.cli import preflight
from hpcml.cli.job_script import add_script_arguments, read_job
from hpcml.core.printable import LINES, printable

if TYPE_CHECKING:
    from hpcml.slurm import Job, Site
    from hpcml.slurm.queued_job import QueuedJob

_WHICH = "run directory, or number of the job"


def add_parser(subparsers: Any) -> None:
    """Add ``job render``, ``submit``, ``status``, ``why``, ``resume``, ``cancel``, ``results``, ``preflight`` and ``sites``."""
    parser = subparsers.add_parser("job", help="write and submit batch jobs, see how they stand and why they ended")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    render = actions.add_parser("render", help="print a batch script; save it, look at it, submit it")
    add_script_arguments(render)
    render.set_defaults(run=_render)
    submit = actions.add_parser("submit", help="write the script beside what the job makes, submit it and print its number")
    add_script_arguments(submit)
    submit.add_argument("--dry-run", action="store_true", help="write and submit nothing; print the script as render does")
    submit.set_defaults(run=_submit)
    status = actions.add_parser("status", help="where a job is in the queue, its last step and checkpoint, and when it will have finished")
    status.add_argument("which", metavar="RUN|JOB", nargs="*", help=f"{_WHICH}; by default all jobs of yours")
    status.set_defaults(run=_status)
    why = actions.add_parser("why", help="why a job ended, or still waits, and what to do")
    why.add_argument("which", metavar="RUN|JOB", help=_WHICH)
    why.set_defaults(run=_why)
    resume = actions.add_parser("resume", help="submit the script of a run again, which goes on where it stopped")
    resume.add_argument("which", metavar="RUN", type=Path, help="run directory")
    resume.set_defaults(run=_resume)
    cancel = actions.add_parser("cancel", help="end a job")
    cancel.add_argument("which", metavar="RUN|JOB", help=_WHICH)
    cancel.add_argument("--checkpoint", action="store_true", help="let it save first, which takes a step and a checkpoint")
    cancel.set_defaults(run=_cancel)
    results = actions.add_parser("results", help="what the runs of an array gave, as a table and a picture")
    results.add_argument("folder", metavar="DIR", type=Path, help="the folder of the runs")
    results.add_argument("--csv", metavar="FILE", type=Path, help="write the table there, in place of printing it")
    results.add_argument("--png", metavar="FILE", type=Path, help="draw the errors")
    results.set_defaults(run=_results)
    preflight.add_action(actions)
    actions.add_parser("sites", help="list the sites that hpcml knows").set_defaults(run=_sites)


def _render(args: argparse.Namespace) -> int:
    print(_script(args)[2], end="")
    return 0


def _script(args: argparse.Namespace) -> "tuple[Job, Site, str]":
    from hpcml.slurm import load_site, render_job
    from hpcml.slurm.activation import activation

    job, site = read_job(args), load_site(args.site)
    return job, site, render_job(job, site, () if job.image else activation(args.environment))


def _submit(args: argparse.Namespace) -> int:
    from hpcml.slurm.submission import folder_of, read_submission, submit

    job, site, script = _script(args)
    if args.dry_run:
        print(script, end="")
        return 0
    if (folder_of(job) / "job.json").exists():
        _refuse_twice(read_submission(folder_of(job)).id, folder_of(job))
    print(submit(job, site, script).id)
    return 0


def _status(args: argparse.Namespace) -> int:
    from hpcml.runs.run_status import describe_status, read_status
    from hpcml.slurm.ask import jobs_in_queue
    from hpcml.slurm.progress import describe_progress, progress_of

    pairs = (
        [_find(which) for which in args.which] if args.which else [(job, _folder(job)) for job in jobs_in_queue() if job.waits or job.runs]
    )
    for job, folder in pairs:
        if job is not None:
            print(_describe(job))
        status = None if folder is None else read_status(folder)
        if folder is not None and status is not None:
            known = describe_progress(progress_of(folder))
            print(f"  {folder}: {describe_status(status)}" + (f"\n  {known}" if known else ""))
        elif job is None:
            print(f"{folder}: Slurm has forgotten its job, and nothing ran there yet")
    if not pairs:
        print("no job of yours is in the queue")
    return 0


def _why(args: argparse.Namespace) -> int:
    from hpcml.runs.run_status import read_status
    from hpcml.slurm.cause import end_of, find_cause
    from hpcml.slurm.submission import output_of, read_submission

    job, folder = _find(args.which)
    output = None
    if folder is not None and (folder / "job.json").exists():
        output = output_of(read_submission(folder), job.id if job else "")
    cause = find_cause(job, None if folder is None else read_status(folder), end_of(output))
    print(f"{cause.kind}: {printable(cause.evidence)}\n  {cause.remedy}" + (f"\n  its output: {printable(str(output))}" if output else ""))
    return 0


def _resume(args: argparse.Namespace) -> int:
    from hpcml.runs.run_status import read_status
    from hpcml.slurm.submission import read_submission, send

    submission = read_submission(args.which)
    _refuse_twice(submission.id, args.which)
    if (read_status(args.which) or {}).get("state") == "finished":
        print(f"{args.which} has finished: nothing is to be resumed; to train longer, submit the case again with --set training.epochs=N")
        return 0
    print(send(submission).id)
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from hpcml.core.errors import ConfigError
    from hpcml.slurm.ask import ask

    job, folder = _find(args.which)
    if job is None or not (job.runs or job.waits):
        raise ConfigError(f"{args.which} has no job that waits or runs")
    if args.checkpoint and job.runs:
        ask("scancel", "--batch", "--signal=TERM", job.id)
        print(f"job {job.id} saves after the step that it is at, and ends; hpcml job resume {folder or 'RUN'} goes on from there")
    else:
        ask("scancel", job.id)
    return 0


def _results(args: argparse.Namespace) -> int:
    from hpcml.core.errors import ConfigError
    from hpcml.slurm.results import as_csv, plot_results, read_results

    rows = read_results(args.folder)
    try:
        print(printable(as_csv(rows), LINES), end="") if args.csv is None else args.csv.write_text(as_csv(rows))
    except OSError as error:
        raise ConfigError(f"cannot write {args.csv}: {error.strerror}") from None
    if args.png is not None:
        plot_results(rows, args.png)
    return 0


def _sites(args: argparse.Namespace) -> int:
    from hpcml.slurm import known_sites

    sites = known_sites()
    width = max(map(len, sites))
    for name, site in sites.items():
        print(f"{name:{width}}  {site.description}{f', checked {site.checked}' if site.checked else ''}")
    return 0


def _find(which: str) -> "tuple[QueuedJob | None, Path | None]":
    """The job of a run directory or a number, as far as Slurm remembers it, and the folder of what it makes."""
    from hpcml.slurm.ask import jobs_in_queue
    from hpcml.slurm.submission import read_submission

    folder = Path(which) if Path(which).is_dir() else None
    number = which if folder is None else read_submission(folder).id
    job = next(iter(jobs_in_queue(number)), None)
    if folder is None:
        from hpcml.core.errors import ConfigError

        if job is None:
            raise ConfigError(f"{which} is no folder, and no job that Slurm remembers: give the run directory")
        folder = _folder(job)
    return job, folder


def _folder(job: "QueuedJob") -> Path | None:
    """The folder of what a job makes, where its script lies."""
    folder = Path(job.script).parent
    return folder if job.script and (folder / "job.json").exists() else None


def _describe(job: "QueuedJob") -> str:
    from hpcml.slurm.time_limit import format_time

    reason = f" ({job.reason})" if job.reason else ""
    nodes = f" on {job.nodes}" if job.nodes else ""
    limit = f", limit {format_time(job.limit)}" if job.limit else ""
    again = f", {job.restarts} restarts" if job.restarts else ""
    return printable(f"job {job.id} {job.name}: {job.state}{reason}{nodes}{limit}{again}")


def _refuse_twice(number: str, folder: Path) -> None:
    """Raise where a job of a folder still waits or runs."""
    from hpcml.core.errors import ConfigError
    from hpcml.slurm.ask import jobs_in_queue

    job = next((job for job in jobs_in_queue(number) if job.runs or job.waits), None)
    if job is not None:
        raise ConfigError(f"job {job.id} of {folder} is {job.state}: two would write the same; hpcml job cancel {folder} ends it")
