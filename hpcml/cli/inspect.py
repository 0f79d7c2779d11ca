"""``hpcml inspect``: how a run stands or ended, what a checkpoint holds, whether it is whole, how to go on from it."""

import argparse
import json
from pathlib import Path
from typing import Any

from hpcml.core.printable import printable

_MOST_VALUES = 20


def add_parser(subparsers: Any) -> None:
    """Add ``inspect``."""
    parser = subparsers.add_parser("inspect", help="how a run ended, what its checkpoints hold, whether they are whole")
    parser.add_argument("path", metavar="PATH", type=Path, help="a checkpoint, a file in it, a folder of checkpoints or a run")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Describe what is there; 0 if something can be resumed from it, else 1.

    Raises
    ------
    CheckpointError
        Where the path holds no checkpoint.
    """
    from hpcml.runs.run_status import describe_status, read_status

    status = read_status(args.path)
    summaries = _summaries(args.path, status is not None)
    if args.json:
        print(json.dumps(summaries + ([{"path": str(args.path), "complete": False, "run": status}] if status is not None else [])))
    else:
        parts = [describe_status(status)] if status is not None else []
        print("\n\n".join([*parts, *("\n".join(map(printable, _describe(summary))) for summary in summaries), _advice(summaries)]))
    return 0 if any(summary["complete"] for summary in summaries) else 1


def _summaries(path: Path, of_a_run: bool) -> list[dict[str, Any]]:
    from hpcml.core.errors import CheckpointError
    from hpcml.io.checkpoint.summary import summarise, summarise_run

    folder = path if path.is_dir() else path.parent
    if folder.name.startswith("step-") and folder.exists():
        return [summarise(folder)]
    for candidate in (folder, folder / "checkpoints"):
        if found := summarise_run(candidate):
            return found
    if of_a_run:  # which has none yet
        return []
    raise CheckpointError(f"{path} is no checkpoint and holds none: name a folder step-..., or the folder they lie in")


def _describe(summary: dict[str, Any]) -> list[str]:
    if "step" not in summary:
        return [summary["path"], f"  not whole: {summary['problem']}"]
    lines = [
        summary["path"],
        f"  step {summary['step']}, saved {summary['written']} by {summary['written_by']} on {summary['ranks']} ranks, "
        f"{summary['bytes'] / 1e6:.1f} MB, format {summary['format_version']}",
        f"  damaged: {summary['problem']}" if summary["problem"] else "  complete, every byte matches its checksum",
    ]
    arrays = summary.get("arrays", [])
    width = max((len(array["name"]) for array in arrays), default=0)
    for array in arrays:
        rows = " per row" if array["placement"] == "rows" else ""
        shape = " x ".join(map(str, array["shape"])) or "scalar"
        lines.append(f"  {array['name']:{width}}  {array['dtype']} {shape}{rows}, {array['placement']}")
    values = list(summary.get("values", {}).items())
    lines += [f"  {name} = {value!r}" for name, value in values[:_MOST_VALUES]]
    if len(values) > _MOST_VALUES:
        lines.append(f"  and {len(values) - _MOST_VALUES} more values (--json shows all)")
    return lines


def _advice(summaries: list[dict[str, Any]]) -> str:
    whole = [summary for summary in summaries if summary["complete"]]
    if not summaries:
        return "There is no checkpoint yet."
    if not whole:
        return "Nothing here can be resumed from."
    newest = max(whole, key=lambda summary: summary["sequence"])
    return (
        f"Resume: start the same command on the same run folder, on any number of ranks; it goes on after step {newest['step']}. "
        f"In Python: hpcml.io.restore({str(Path(newest['path']).parent)!r}, comm)"
    )
