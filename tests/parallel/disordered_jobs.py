"""Whole jobs in which one rank skips, repeats or reorders a call, as users see them: every process ends within 15 s of it.

    python tests/parallel/disordered_jobs.py        a call of each kind, on 2, 3 and 4 ranks by turns, with the MPI of this Python
    python tests/parallel/disordered_jobs.py 1      the first of them

Prints for each job the seconds from the call to the end of the last process, and the error; ends with status 1 if one is too late, ends
without an error, or says too little.
"""

import itertools
import os
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.conftest import Mpiexec  # noqa: E402

NAMES = "Conv2d", "mse", "all_sum", "Checkpointer.save", "SnapshotWriter.append", "open_dataset", "HaloPlan.exchange", "Domain.gather"
KINDS = "skip", "repeat", "reorder"
PATIENCE_S, MOST_S = 5.0, 15.0


def is_alive(pid):
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def count_bad(mpiexec, most):
    """Jobs that do not end as they should, of the first so many."""
    jobs, bad = [*itertools.product(NAMES, KINDS)][:most], 0
    for number, (name, kind) in enumerate(jobs):
        size, when, script = 2 + number % 3, number // 3 % 2, Path(__file__).with_name("disorder.py")
        result = mpiexec(size, script, name, kind, when, "forward", timeout=120, env={"HPCML_PATIENCE_S": str(PATIENCE_S)})
        ranks = re.findall(r"pid (\d+) begins at ([\d.]+)", result.stdout)
        while (left := [pid for pid, _ in ranks if is_alive(pid)]) and time.time() < float(ranks[0][1]) + MOST_S:
            time.sleep(0.05)  # some launchers leave before the ranks do
        seconds = time.time() - max((float(begin) for _, begin in ranks), default=0.0)
        error = " ".join(line for line in result.stderr.splitlines() if re.search(r"ranks? \d", line) and "hpcml" in result.stderr)
        wrong = [
            text
            for text, is_so in {
                f"{len(ranks)} of {size} ranks began": len(ranks) != size,
                "status 0": result.returncode == 0,
                f"over {MOST_S:g} s": seconds > MOST_S,
                f"processes {left} still live": left,
                "no rank is named": not error,
            }.items()
            if is_so
        ]
        bad += bool(wrong)
        print(f"{name} {kind} {when} on {size} ranks: {seconds:.1f} s {wrong or ''}\n    {error[:300]}", flush=True)
    print(f"{bad} bad jobs of {len(jobs)}, {mpiexec.product.splitlines()[0]}", flush=True)
    return bad


def main():
    with tempfile.TemporaryDirectory(prefix="launch-") as scratch:
        bad = count_bad(Mpiexec(str(Path(sys.executable).with_name("mpiexec")), scratch), int(sys.argv[1]) if sys.argv[1:] else None)
    os._exit(bool(bad))


if __name__ == "__main__":
    main()
