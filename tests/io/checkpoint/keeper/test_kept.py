"""A restart takes memory from its own run's keepers and from nobody else, and keepers give theirs to nobody else."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.io import Checkpointer
from hpcml.io.checkpoint.keeper import kept
from hpcml.io.checkpoint.keeper.channel import receive, send
from hpcml.io.checkpoint.keeper.handover import hand_over, open_point
from hpcml.io.checkpoint.keeper.session import Session, earlier_sessions

NOBODY = 65534
SESSION = Session("abc123", "5ec4e7", 2)
OFFER = {"secret": SESSION.secret, "rank": 0, "size": 2, "headers": [{"session": "abc123", "sequence": 10**9, "step": 666, "size": 1}]}
IMPOSTOR = """
import os, signal, socket, sys
if int(sys.argv[1]):
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
point = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
point.bind("\\0" + sys.argv[2])
point.listen()
print("ready", flush=True)
while True:
    line, _ = point.accept()
    if sys.argv[3]:
        line.recv(1000)
        socket.send_fds(line, [sys.argv[3].encode("utf-8", "surrogateescape")], [os.memfd_create("poison")])
    else:
        signal.pause()
"""
ASKING = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.connect("\\0" + sys.argv[1])
line.send(sys.argv[2].encode())
print(line.recv(1000))
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")


@pytest.fixture
def impostor():
    """``impostor(other_user, answer)`` stands where the keeper of rank 0 is looked for."""
    started = []

    def start(other_user, answer):
        command = [sys.executable, "-c", IMPOSTOR, str(int(other_user)), SESSION.point(0)[1:], answer]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@as_root
@pytest.mark.parametrize("answer", [json.dumps(OFFER), "\udcff garbage", "[" * 50_000, ""], ids=["poison", "garbage", "nested", "silence"])
def test_another_user_in_the_place_of_a_keeper_is_not_listened_to(impostor, monkeypatch, answer):
    monkeypatch.setattr(kept, "_ANSWER_SECONDS", 1e6)  # a test that waits for it ends by its limit
    impostor(True, answer)
    assert kept.visit_keepers([SESSION]) == []


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "answer",
    [json.dumps(OFFER | {"secret": "0ther"}), json.dumps(OFFER | {"headers": 3}), "[]", "{}", "\udcff", ""],
    ids=["another run", "another version", "list", "empty", "garbage", "silence"],
)
def test_what_does_not_answer_as_a_keeper_of_this_run_is_none(impostor, monkeypatch, answer):
    monkeypatch.setattr(kept, "_ANSWER_SECONDS", 0.2 if not answer else 1e6)
    before = open_files()
    impostor(False, answer)
    opened = open_files() - before
    assert kept.visit_keepers([SESSION]) == []
    assert open_files() - before == opened


def call(secret):
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(SESSION.point(1))
    send(line, {"secret": secret})
    return line, receive(line)


def test_a_keeper_gives_its_memory_to_who_is_of_the_same_user_and_knows_the_secret():
    fd = os.memfd_create("copy")
    os.write(fd, b"state")
    keeper = threading.Thread(target=hand_over, args=(open_point(SESSION, 1), SESSION.secret, {"rank": 1}, [fd], 60.0))
    keeper.start()
    if os.geteuid() == 0:
        command = [sys.executable, "-c", ASKING, SESSION.point(1)[1:], json.dumps({"secret": SESSION.secret})]
        asked = subprocess.run(command, capture_output=True, text=True)
        assert asked.stdout == "b''\n" or "ConnectionReset" in asked.stderr or "BrokenPipe" in asked.stderr, asked
    for wrong in ("", "0ther", None):
        assert call(wrong)[1] is None
    line, (offer, (copy,)) = call(SESSION.secret)
    assert offer == {"secret": SESSION.secret, "rank": 1} and os.pread(copy, 100, 0) == b"state"
    send(line, {"do": "leave"})
    keeper.join()


def test_the_secret_is_the_owners_alone_and_goes_with_the_run(tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF) as checkpointer:
        (path,) = tmp_path.glob(".secret-*")
        assert path.stat().st_mode & 0o777 == 0o600
        (session,) = earlier_sessions(tmp_path)
        keeper = checkpointer._link._process.pid
        assert session.secret not in Path(f"/proc/{keeper}/cmdline").read_text()
        checkpointer.save(1, {"w": np.ones(3)})
    assert not list(tmp_path.glob(".secret-*"))


@as_root
def test_secrets_that_are_not_ones_own_or_none_are_passed_over(tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF):
        (path,) = tmp_path.glob(".secret-*")
        good = path.read_text()
        (tmp_path / ".secret-0ther").write_text(good)
        os.chown(tmp_path / ".secret-0ther", NOBODY, NOBODY)
        os.mkfifo(tmp_path / ".secret-p1pe")
        (tmp_path / ".secret-l1nk").symlink_to(path)
        (tmp_path / ".secret-f0lder").mkdir()
        for name, text in {"n0": "{}", "n1": "[1]", "n2": "", "n3": '{"secret": "a", "size": "many"}'}.items():
            (tmp_path / f".secret-{name}").write_text(text)
        assert [f".secret-{session.name}" for session in earlier_sessions(tmp_path)] == [path.name]


def test_a_folder_may_have_any_name_in_any_locale(tmp_path, mpiexec):
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    program = (
        "import os, sys, numpy as np; from mpi4py import MPI; from hpcml.io import Checkpointer\n"
        "for step in (1, 2):\n"
        "    with Checkpointer(os.fsdecode(os.fsencode(sys.argv[1]) + b'/caf\\xe9 \\xc3\\xa9'), MPI.COMM_SELF) as checkpointer:\n"
        "        restored = checkpointer.restore()\n"
        "        checkpointer.save(step, {'w': np.ones(3)})\n"
        "print(restored.step)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], env=mpiexec.env | locale, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
