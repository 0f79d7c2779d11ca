"""``hpcml job``: batch scripts, and the jobs that come of them. Runs on login nodes: no MPI, torch or CuPy."""

import argparse
from typing import Any

from hpcml.cli.job_script import add_script_arguments, read_job


def add_parser(subparsers: Any) -> None:
    """Add ``job render``, ``job submit`` and ``job sites``."""
    parser = subparsers.add_parser("job", help="write and submit batch jobs, see how they stand and why they ended")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    render = actions.add_parser("render", help="print a batch script; save it, look at it, submit it")
    add_script_arguments(render)
    render.set_defaults(run=_render)
    actions.add_parser("sites", help="list the sites that hpcml knows").set_defaults(run=_sites)


def _render(args: argparse.Namespace) -> int:
    print(_script(args), end="")
    return 0


def _script(args: argparse.Namespace) -> str:
    from hpcml.slurm import load_site, render_job
    from hpcml.slurm.activation import activation

    job, site = read_job(args), load_site(args.site)
    return render_job(job, site, () if job.image else activation(args.environment))


def _sites(args: argparse.Namespace) -> int:
    from hpcml.slurm import known_sites

    sites = known_sites()
    width = max(map(len, sites))
    for name, site in sites.items():
        print(f"{name:{width}}  {site.description}{f', checked {site.checked}' if site.checked else ''}")
    return 0
