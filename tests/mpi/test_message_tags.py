"""Tags lie where MPI guarantees them, each belongs to one exchange, and one that was freed comes back late."""

import ast
from pathlib import Path

import pytest
from mpi4py import MPI

import hpcml
from hpcml.core.errors import CommunicationError
from hpcml.mpi import message_tags
from hpcml.mpi.message_tags import GREETING, MOST, RAW, REBUILD, ROLL_CALL, STOP, MessageTags


def test_all_tags_differ_and_mpi_has_them():
    named = (RAW, REBUILD, STOP, GREETING, ROLL_CALL)
    assert len({*range(MOST), *named}) == MOST + len(named) and max(named) < 32767


CALLS = {"Send", "Recv", "Isend", "Irecv", "Send_init", "Recv_init", "isend", "irecv", "iprobe", "improbe"}
"""Of a communicator."""


def test_no_message_has_a_number_of_its_own_or_none():
    calls, wrong = 0, []
    for path in Path(hpcml.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                calls += 1
                tags = [*node.args[2:3], *(keyword.value for keyword in node.keywords if keyword.arg == "tag")]
                if not tags or any(isinstance(tag, ast.Constant) for tag in tags):
                    wrong.append(f"{path}:{node.lineno}")
    assert calls >= 10 and not wrong


def test_one_that_is_in_use_is_passed_over(monkeypatch):
    monkeypatch.setattr(message_tags, "MOST", 4)
    tags = MessageTags()
    assert [tags.take() for _ in range(3)] == [0, 1, 2]
    tags.free(1)
    assert [tags.take(), tags.take()] == [3, 1]
    with pytest.raises(CommunicationError, match="4 exchanges are open"):
        tags.take()


def test_a_communicator_has_one_set():
    comm = MPI.COMM_SELF.Dup()
    assert MessageTags.of(comm) is MessageTags.of(comm) is not MessageTags.of(MPI.COMM_SELF)
    comm.Free()
