"""Every line says who wrote it; ranks above zero speak up only when something is wrong."""

import contextlib
import errno
import logging
import os

import pytest

from hpcml.core.log import rank_log

LOGGER = logging.getLogger("hpcml.somewhere")


def _speak():
    LOGGER.debug("detail")
    LOGGER.info("news")
    LOGGER.warning("100%% odd")


def test_rank_zero_shows_news_on_stdout(capsys):
    with rank_log(0, 512, "cuda:2"):
        _speak()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2].split(maxsplit=1) for line in lines] == [["INFO", "news"], ["WARNING", "100%% odd"]]
    assert all("[r0000/0512 " in line and ":cuda:2]" in line for line in lines)


def test_other_ranks_show_warnings_only(capsys):
    with rank_log(3, 512):
        _speak()
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "[r0003/0512 " in err and "odd" in err


def test_a_folder_gets_a_file_per_rank_with_everything_from_the_level_on(tmp_path, capsys):
    for text in ("first", "second"):
        with rank_log(3, 4, folder=tmp_path / "log", level=logging.DEBUG):
            LOGGER.debug(text)
    assert [line.split()[-1] for line in (tmp_path / "log" / "rank0003.log").read_text().splitlines()] == ["first", "second"]
    assert capsys.readouterr() == ("", "")


def test_the_root_logger_and_the_state_before_are_left_alone(capsys):
    top, root = logging.getLogger("hpcml"), logging.getLogger()
    before = top.handlers[:], top.level, top.propagate, root.handlers[:], root.level
    with pytest.raises(RuntimeError, match="inside"), rank_log(0, 1):
        raise RuntimeError("inside")
    assert (top.handlers, top.level, top.propagate, root.handlers, root.level) == before
    LOGGER.warning("after")
    assert "r0000" not in capsys.readouterr().out


@pytest.mark.parametrize("name, number", [("write", errno.ENOSPC), ("write", errno.EDQUOT), ("write", errno.EIO), ("write", errno.EFBIG)])
def test_lines_that_the_disk_refuses_are_written_later(tmp_path, monkeypatch, capsys, name, number):
    real = os.write

    def refuses(descriptor, data):
        if os.fstat(descriptor).st_ino != (tmp_path / "rank0000.log").stat().st_ino:
            return real(descriptor, data)
        if len(data) > 3:
            return real(descriptor, data[:3])
        raise OSError(number, os.strerror(number))

    with rank_log(0, 1, folder=tmp_path):
        LOGGER.info("first")
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refuses)
            for word in ("second", "third"):
                LOGGER.info(word)
            assert (tmp_path / "rank0000.log").read_text().count("\n") == 1
        LOGGER.info("fourth")
    words = [line.split()[-1] for line in (tmp_path / "rank0000.log").read_text().splitlines()]
    assert words == ["first", "second", "third", "fourth"]
    err = capsys.readouterr().err
    assert err.count("lines are kept") == 1 and os.strerror(number) in err and "Traceback" not in err


def test_a_disk_that_stays_full_is_no_error_at_the_end(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, rank_log(0, 1, folder=tmp_path):
        patch.setattr("hpcml.core.log.append", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        LOGGER.info("lost")
    assert (tmp_path / "rank0000.log").read_text() == "" and "Traceback" not in capsys.readouterr().err


def test_nobody_who_listens_is_no_error(tmp_path, monkeypatch):
    """The log file goes on."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as deaf, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", deaf)
        with rank_log(0, 1, folder=tmp_path):
            for word in ("first", "second"):
                LOGGER.info(word)
        with contextlib.suppress(BrokenPipeError):
            deaf.close()
    assert (tmp_path / "rank0000.log").read_text().count("\n") == 2


def test_names_in_messages_cannot_act_on_a_terminal(tmp_path, capsys):
    with rank_log(0, 1, folder=tmp_path):
        LOGGER.info("the field %s\nand more", "größe\x1b[2J")
    for text in (capsys.readouterr().out, (tmp_path / "rank0000.log").read_text(encoding="utf-8")):
        assert text.endswith("the field größe\\x1b[2J\nand more\n")


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rank0000.log")
    with pytest.raises(OSError, match="it is a pipe, not a file"), rank_log(0, 1, folder=tmp_path):
        pass
