"""``hpcml export``: pictures of a rollout, and of how a run of ``hpcml online`` went, after the run and without MPI."""

import argparse
from pathlib import Path
from typing import Any

from hpcml.cli.number import MOST, Number


def add_parser(subparsers: Any) -> None:
    """Add ``export``."""
    parser = subparsers.add_parser("export", help="draw a rollout: truth, prediction and error; or how an online run went")
    parser.add_argument("directory", type=Path, metavar="RUN", help="run directory in which `hpcml rollout` has been")
    parser.add_argument("--png", action="store_true", help="a picture of some steps")
    parser.add_argument("--gif", action="store_true", help="an animation of all steps")
    parser.add_argument("--report", action="store_true", help="how a run of `hpcml online` went, in one picture")
    parser.add_argument("--sample", type=Number(0, MOST), default=0, metavar="N", help="which held-out trajectory (default 0)")
    parser.add_argument("--channel", default=None, metavar="NAME", help="which channel (default the first)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw what was asked for; of a rollout both if nothing was."""
    if args.report:
        from hpcml.cli.online_report import draw_report

        print(draw_report(args.directory))
        if not (args.png or args.gif):
            return 0
    from hpcml.cli.picture import draw_animation, draw_picture, read_rollout

    rollout = read_rollout(args.directory, args.sample, args.channel)
    both = not (args.png or args.gif)
    if args.png or both:
        print(draw_picture(rollout, args.directory / "rollout.png"))
    if args.gif or both:
        print(draw_animation(rollout, args.directory / "rollout.gif"))
    return 0
