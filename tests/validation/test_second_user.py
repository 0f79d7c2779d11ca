"""Another user of this machine, who knows every name and was there first: nothing of his is loaded, read or waited for.

He owns the folder where the user starts, with modules of any name in it, the cache, what used to be the fallback of the cache, and answers
where the keepers of a run are looked for. A library of his writes a file when it is loaded; measurements of his say that nothing is quicker
than a way that does not exist.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hpcml.io.checkpoint.keeper.session import Session
from hpcml.io.checkpoint.stored.catalog import SECRET
from hpcml.kernels.compiler import compile_shared, find_compiler

CASE = """
[grid]
shape = [16, 16]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 2
held_out = 1
snapshots = 2
[model]
name = "unet"
channels = 2
levels = 1
[training]
epochs = 1
"""
SUBJECTS = ("kernels", "halo", "gpu_aware")


MODULES = "hpcml", "numpy", "tensorboard", "cupy", "triton", "opt_einsum", "pyeclib", "pytorch_optimizer", "usercustomize"
"""What Python would take from a folder that it searches: the packages themselves, and those that are not installed."""


def command(*words, mpiexec, start, **variables):
    """The command as it is installed, which does not search the folder where it starts; ``python -m`` does."""
    words = (Path(sys.executable).with_name("hpcml"), *words)
    return subprocess.run(words, env=mpiexec.env | variables, capture_output=True, text=True, timeout=200, cwd=start)


def train(folder, run, mpiexec, start, **variables):
    return command("train", folder / "case.toml", "--run", folder / run, mpiexec=mpiexec, start=start, **variables)


LISTEN = """
import os, select, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
points = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in sys.argv[1:]]
for point, name in zip(points, sys.argv[1:]):
    point.bind("\\0" + name)
    point.listen()
print("ready", flush=True)
visitors = []
while True:
    for point in select.select(points, [], [])[0]:  # nonsense to the first who comes, silence to the next
        visitors.append(point.accept()[0])
        try:
            if len(visitors) % 2:
                visitors[-1].send(b'{"rank": 0, "size": 1, "headers": [{"session": "x", "sequence": 9, "size": 1, "step": 9}]}')
        except OSError:
            pass  # nobody waits for what he says
"""


@pytest.fixture
def listening():
    """``listening(*names)``: he answers under these names as long as the test goes on."""
    started = []

    def start(*names):
        started.append(subprocess.Popen([sys.executable, "-c", LISTEN, *names], stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.timeout(600)
def test_nothing_of_his_is_loaded_read_or_waited_for(tmp_path, shared_folder, mpiexec, as_another_user, listening):
    (tmp_path / "case.toml").write_text(CASE)
    own = train(tmp_path, "own", mpiexec, tmp_path, HPCML_CACHE=str(tmp_path / "cache"))
    assert own.returncode == 0, own.stderr
    names = [path.name for path in (tmp_path / "cache" / "kernels").glob("*.so")]
    assert names
    marker = tmp_path / "loaded"
    (tmp_path / "evil.cpp").write_text(
        f'#include <cstdio>\n__attribute__((constructor)) static void load() {{ std::fclose(std::fopen("{marker}", "w")); }}\n'
    )
    compile_shared(find_compiler(), tmp_path / "evil.cpp", tmp_path / "evil.so")
    evil = (tmp_path / "evil.so").read_bytes()
    folders = [shared_folder / place / subject for place in ("cache/hpcml", "hpcml-0") for subject in SUBJECTS]

    def plant():
        os.umask(0)
        for folder in folders:
            folder.mkdir(parents=True)
            for name in names:
                (folder / name).write_bytes(evil)
            (folder / f"{socket.gethostname()}-x.json").write_text('{"curves": {"cpu": {"none": [[1, 1e-12]]}}}')
        for name in MODULES:
            (shared_folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write('{name}')\nraise ImportError('his')\n")

    as_another_user(plant)
    started = Session("abc123", "5ec4e7", 2)  # and left keepers, whose names are to be seen by all
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / f"{SECRET}{started.name}").write_text(json.dumps({"secret": started.secret, "size": started.size}))
    listening(*(started.point(rank)[1:] for rank in range(started.size)))

    theirs = {"XDG_CACHE_HOME": str(shared_folder / "cache"), "TMPDIR": str(shared_folder)}
    again = train(tmp_path, "run", mpiexec, shared_folder, **theirs)
    assert again.returncode == 0, again.stderr
    assert command("info", mpiexec=mpiexec, start=shared_folder, **theirs).returncode == 0
    assert not marker.exists() and "belongs to the user 65534" in again.stderr + again.stdout
    assert "resuming" not in again.stdout  # with what he would hand over
    assert [path.name for path in shared_folder.glob("hpcml-*")] == ["hpcml-0"]  # what was private is gone
