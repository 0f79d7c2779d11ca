"""The arguments that say what a batch job does and where, the same for every command that makes a script."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hpcml.cli.case_file import name_of_case
from hpcml.cli.number import MOST, Number

if TYPE_CHECKING:
    from hpcml.slurm import Job

KINDS = ("train", "online", "generate", "array", "container", "rollout", "evaluate", "bench")


def add_script_arguments(parser: argparse.ArgumentParser) -> None:
    """Add KIND, WHAT and what is asked of the batch system."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=f"what the job does: {', '.join(KINDS)}")
    parser.add_argument("case", metavar="WHAT", help="case file; run directory of rollout and evaluate; name of a benchmark")
    parser.add_argument("--site", default="generic", metavar="NAME|FILE", help="one of `hpcml job sites`, or a TOML file like theirs")
    parser.add_argument("--nodes", type=Number(1, MOST), default=1, metavar="N", help="nodes, default 1")
    parser.add_argument(
        "--spare-nodes", type=Number(0, MOST), metavar="N", help="go on in the same job when nodes die: on N that stand by, then on fewer"
    )
    parser.add_argument("--time", default="01:00:00", metavar="LIMIT", help="time limit as sbatch takes it, default one hour")
    parser.add_argument("--account", default="", metavar="NAME", help="who pays")
    parser.add_argument("--partition", default="", metavar="NAME", help="where, if not where the site file says; the queue of PBS and Flux")
    parser.add_argument("--qos", default="", metavar="NAME", help="how urgently, if not as the site file says")
    parser.add_argument("--option", action="append", default=[], metavar="TEXT", help="further option, as in --option=--exclude=n3")
    parser.add_argument("--grace", type=Number(1, MOST), metavar="SECONDS", help="how long before the limit the run saves, at most 180")
    parser.add_argument(
        "--restarts", type=Number(0, MOST), default=10, metavar="N", help="how often the job may be queued again, default 10"
    )
    parser.add_argument(
        "--run", metavar="DIR", dest="directory", help="run directory, default as `hpcml train`'s; of an array, their folder"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the dataset of generate, default as for `hpcml data generate`")
    parser.add_argument("--params", metavar="CSV", help="tasks of an array: a line per run, a column per dotted key of the case")
    parser.add_argument("--image", metavar="FILE", default="", help="Apptainer image of a container, default hpcml.sif")
    parser.add_argument("--preflight", action="store_true", help="look at the nodes first, and do not begin if something is wrong")
    parser.add_argument("--environment", metavar="DIR", help="Python environment to activate, or none; default the one of this command")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one value, as in training.epochs=10"
    )


def read_job(args: argparse.Namespace) -> "Job":
    """The job that the arguments describe; its case is read, for a mistake costs less here than after a night in the queue.

    Raises
    ------
    ConfigError
        For whatever is wrong with the case or with a value.

    Communication
    -------------
    Local.
    """
    from hpcml.core.errors import ConfigError
    from hpcml.slurm import Job, Row
    from hpcml.slurm.params import read_params

    kind, rows = args.kind, tuple[Row, ...]()
    if (args.params is None) == (kind == "array"):
        raise ConfigError("an array needs --params FILE" if kind == "array" else f"--params is for arrays, not for {kind}")
    if kind == "array":
        rows = read_params(args.params)
    run = out = ""
    if kind == "bench":
        case = args.case
    elif kind in ("rollout", "evaluate"):
        case, run = "", args.case
        if args.overrides:
            raise ConfigError(f"{kind} takes the case of its run as it is: leave --set out")
    else:
        case = args.case
        folder = _output_folder(kind, case, args.overrides, [row.overrides for row in rows])
        if kind == "generate":
            out = args.out or f"datasets/{name_of_case(case)}"
        else:
            run = args.directory or str(Path(folder) / name_of_case(case))
    return Job(
        *(kind, case, run, out, args.nodes, args.time, args.account, args.partition, args.qos, tuple(args.option), args.grace),
        *(args.restarts, tuple(args.overrides), args.image or ("hpcml.sif" if kind == "container" else ""), rows),
        *(args.preflight, args.spare_nodes),
    )


def _output_folder(kind: str, path: str, overrides: list[str], rows: list[tuple[str, ...]]) -> str:
    """Check a case, with the values of every task of an array, and give the folder of its runs."""
    from hpcml.core.case import Case, Generation
    from hpcml.core.named import load_complete

    if kind == "generate":
        load_complete(path, Generation, overrides, False)
        return ""
    for row in rows:
        load_complete(path, Case, [*overrides, *row], False)
    return str(load_complete(path, Case, overrides, False).output.folder)
