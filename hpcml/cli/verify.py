"""``hpcml verify``: whether a case's model, or every operator, computes over these ranks what it computes on one."""

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from hpcml.cli.case_file import add_case_arguments, read_case
from hpcml.cli.number import MOST, Number
from hpcml.core.errors import ConfigError

if TYPE_CHECKING:
    from hpcml.core.case import Case
    from hpcml.mpi.world import World


def add_parser(subparsers: Any) -> None:
    """Add ``verify``."""
    parser = subparsers.add_parser("verify", help="compare a case's model, or all operators, over ranks with one rank")
    add_case_arguments(parser, required=False)
    parser.add_argument("--matrix", action="store_true", help="every operator with every setting on every process grid of these ranks")
    parser.add_argument("--every", type=Number(1, MOST), default=1, metavar="N", help="of the matrix, every N-th case only")
    parser.add_argument("--json", action="store_true", help="end with one line that holds one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify on all ranks of the job; the status is 1 if anything differs."""
    import hpcml.mpi

    world = hpcml.mpi.world()
    if args.matrix == (args.case is not None):
        raise ConfigError("hpcml verify wants either a CASE or --matrix")
    text, result, ok = _matrix(world, args.every) if args.matrix else _case(world, read_case(args))
    if world.rank == 0:
        print(text)
        if args.json:
            print(json.dumps(result))
    return 0 if ok else 1


def _matrix(world: "World", every: int) -> tuple[str, dict[str, Any], bool]:
    from hpcml.core.progress import progress
    from hpcml.models.verification.operator_matrix import run_matrix, summary, table

    with progress("operators", 100, world.rank == 0) as bar:
        outcomes = run_matrix(world.comm, every, lambda done, total: bar.advance(100 * done // total, ""))
    result = summary(outcomes)
    return table(outcomes), result, result["wrong"] == 0


def _case(world: "World", case: "Case") -> tuple[str, dict[str, Any], bool]:
    """Verify the untrained model of a case on its own data, as few of them as will do."""
    import torch

    from hpcml.fields.domain import Domain
    from hpcml.graphs import Graph
    from hpcml.models.verification.verify import verify
    from hpcml.runs.experiment import open_experiment

    if case.data.kind == "simulation":
        few = {"trajectories": 2 * case.ranks.data, "held_out": 1, "snapshots": 2, "spin_up": 0.0}
        case = case.model_copy(update={"data": case.data.model_copy(update=few)})
    experiment = open_experiment(case, world.comm)
    with experiment.space as space:
        samples = experiment.train.take(torch.arange(2 * space.num_data))[0]
        assert isinstance(space, Domain | Graph)
        report = verify(experiment.surrogate(), space.gather(samples), space=space)
    worst = report.worst
    error = worst.error if math.isfinite(worst.error) else None  # JSON has no infinity
    plain = [str(layer) for layer in report.plain_layers]
    return str(report), {"ok": report.ok, "error": error, "quantity": worst.quantity, "plain_layers": plain}, report.ok
