"""A batch log gets few lines, the last step always among them; other ranks show nothing."""

import logging

from hpcml.core.progress import progress


def test_first_and_last_step_are_logged(caplog):
    with caplog.at_level(logging.INFO, "hpcml"), progress("update", 100, shown=True) as bar:
        for done in range(1, 101):
            bar.advance(done, "loss 1")
    assert [record.getMessage().split("  ")[0] for record in caplog.records] == ["update 1/100", "update 100/100"]


def test_silent_where_not_shown(caplog, capsys):
    with caplog.at_level(logging.INFO, "hpcml"), progress("update", 2, shown=False) as bar:
        bar.advance(2, "loss 1")
    assert not caplog.records and capsys.readouterr() == ("", "")
