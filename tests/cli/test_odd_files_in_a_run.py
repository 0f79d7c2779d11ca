"""Whatever lies at a name that a run directory holds, a command ends in a result or a sentence: it never waits or reads for ever."""

import itertools
import os
import resource
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import tomli_w

LIMIT_S = 60  # a command takes a tenth of a second; a machine may be busy
ROOM = 4 << 30  # of addresses, beyond those in use: what reads /dev/zero to its end comes upon it soon
CASE = {
    "grid": {"shape": [8]},
    "equation": {"name": "heat"},
    "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 3},
    "model": {"name": "fno", "channels": 2, "modes": 2, "layers": 1},
    "training": {"epochs": 1},
}
COMMANDS = {
    "inspect": lambda case, run: ("inspect", run),
    "results": lambda case, run: ("job", "results", run.parent),
    "evaluate": lambda case, run: ("evaluate", run),
    "train": lambda case, run: ("train", case, "--run", run, "--set", "training.epochs=2"),
}


def a_pipe(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_link_without_end(path):
    path.symlink_to("/dev/zero")


def a_link_in_a_circle(path):
    path.symlink_to(path.name)


def a_hundred_gigabytes_of_holes(path):
    with path.open("wb") as file:
        file.truncate(100 << 30)


KINDS = {
    a_pipe: {*COMMANDS},
    a_link_without_end: {*COMMANDS},
    **{kind: {"inspect", "train"} for kind in (a_folder, a_link_in_a_circle, a_hundred_gigabytes_of_holes)},
}
"""What is tried with each: all commands with what never ends, one that looks and one that writes with the others."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, alone):
    """Case and directory of a tiny run that has finished, was evaluated and inspected."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "case.toml").write_text(tomli_w.dumps(CASE))
    assert alone("train", folder / "case.toml", "--run", folder / "run").returncode == 0
    assert alone("evaluate", folder / "run").returncode == 0
    return folder / "case.toml", folder / "run"


@contextmanager
def limited():
    """An error where a block waits, or takes memory, without end."""

    def late(number, frame):
        raise AssertionError(f"it still waits after {LIMIT_S} s")

    before, soft = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, soft[1]))
    left, begun = signal.alarm(LIMIT_S), time.monotonic()
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, soft)
        signal.signal(signal.SIGALRM, before)
        if left:  # that of the test itself
            signal.alarm(max(1, left - int(time.monotonic() - begun)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_commands_end_soon(kind, finished, alone, tmp_path):
    case, whole = finished
    newest = max((whole / "checkpoints").glob("step-*"))
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.parent.parent.name != "checkpoints"]
    names += [path.relative_to(whole) for path in newest.iterdir()]
    assert {"config.toml", "status.json", "ways.json", "metrics.csv", "evaluation.json", "log/rank0000.log"} <= {*map(str, names)}
    for name, command in itertools.product(names, COMMANDS):
        if command not in _that_read(name) & KINDS[kind]:
            continue
        run = tmp_path / f"{'-'.join(name.parts)}-{command}" / "run"  # one for each: the last may still tidy up
        shutil.copytree(whole, run)
        (run / name).unlink()
        kind(run / name)
        with limited():
            done = alone(*COMMANDS[command](case, run))
        assert done.returncode in (0, 1, 2) and "memory is short" not in done.stderr, (command, name, done)
        assert done.returncode < 2 or (done.stderr.count("\n") == 1 and str(run.parent) in done.stderr), (command, name, done)


def _that_read(name):
    """What may lie among checkpoints is tried in tests/io/checkpoint; among the data, two commands read in the same way."""
    return {"inspect", "results"} if "checkpoints" in name.parts else {"inspect", "evaluate"} if "data" in name.parts else {*COMMANDS}
