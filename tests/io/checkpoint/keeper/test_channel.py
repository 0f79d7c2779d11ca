"""What was sent arrives, whatever becomes of who sent it."""

import os

import pytest

from hpcml.io.checkpoint.keeper.channel import pair, receive, send


@pytest.mark.parametrize("unread", [0, 1, 3])
def test_messages_of_a_dead_process_arrive_although_it_left_answers_unread(unread):
    """Linux then reports a broken connection, ahead of the messages that are still queued."""
    mine, its = pair()
    with its:
        for number in range(3):
            send(mine, {"number": number})
        for number in range(unread):
            send(its, {"answer": number})
        mine.close()
        assert [receive(its)[0]["number"] for _ in range(3)] == [0, 1, 2]
        assert receive(its) is None and receive(its) is None


def test_files_go_along(tmp_path):
    mine, its = pair()
    with mine, its, (tmp_path / "a").open("w") as file:
        send(mine, {}, [file.fileno()])
        _, (received,) = receive(its)
        with os.fdopen(received, "w") as again:
            again.write("same")
    assert (tmp_path / "a").read_text() == "same"
