"""Every line says who wrote it; ranks above zero speak up only when something is wrong."""

import logging

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
