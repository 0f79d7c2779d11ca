"""``hpcml job``: batch scripts for Slurm. Runs on login nodes: no MPI, torch or CuPy."""

import argparse
from pathlib import Path
from typing import Any

from hpcml.cli.case_file import add_case_arguments, name_of_case, read_case


def add_parser(subparsers: Any) -> None:
    """Add ``job render`` and ``job sites``."""
    parser = subparsers.add_parser("job", help="write a batch script for Slurm, or list the sites")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    render = actions.add_parser("render", help="print a batch script; save it, look at it, submit it with sbatch")
    render.add_argument("kind", choices=["train"], help="what the job does")
    add_case_arguments(render)
    render.add_argument("--site", default="generic", metavar="NAME|FILE", help="one of `hpcml job sites`, or a TOML file like theirs")
    render.add_argument("--nodes", type=int, default=1, help="nodes, default 1")
    render.add_argument("--time", default="01:00:00", help="time limit as sbatch takes it, default one hour")
    render.add_argument("--account", help="who pays")
    render.add_argument("--run", metavar="DIR", dest="directory", help="run directory, default as for `hpcml train`")
    render.set_defaults(run=_render)
    actions.add_parser("sites", help="list the sites that hpcml knows").set_defaults(run=_sites)


def _render(args: argparse.Namespace) -> int:
    from hpcml.slurm import load_site, render_job

    case = read_case(args, importing=False)  # a mistake costs less here than after a night in the queue
    run = args.directory or str(Path(case.output.folder) / name_of_case(args.case))
    script = render_job(args.kind, load_site(args.site), args.case, run, args.nodes, args.time, args.account, overrides=args.overrides)
    print(script, end="")
    return 0


def _sites(args: argparse.Namespace) -> int:
    from hpcml.slurm import known_sites

    sites = known_sites()
    width = max(map(len, sites))
    print("\n".join(f"{name:{width}}  {site.description}" for name, site in sites.items()))
    return 0
