import pytest

from hpcml.core.errors import ConfigError
from hpcml.slurm.time_limit import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("5:30", 330), ("1:05:30", 3930), ("2-3", 183600), ("2-3:04", 183840), ("2-3:04:05", 183845), ("100:00:00", 360000)],
)
def test_every_form_of_slurm_is_taken_and_given_back_in_one(text, seconds):
    assert parse_time(text) == seconds == parse_time(format_time(seconds))


def test_no_limit_is_one():
    assert parse_time("unlimited") is None and format_time(None) == "UNLIMITED"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        *[("2h", "02:00:00"), ("90min", "01:30:00"), ("1 day", "1-00:00:00"), ("1h30m", "01:30:00"), ("1h 30m 5s", "01:30:05")],
        *[("1:2:3:4", "02:00:00"), ("-1", "02:00:00"), ("", "02:00:00"), ("٣", "02:00:00"), ("1-", "02:00:00"), ("0", "02:00:00")],
        *[("9999999999", "02:00:00"), ("1\n", "02:00:00"), ("9" * 5000, "02:00:00")],
    ],
)
def test_anything_else_is_refused_with_the_right_form(text, remedy):
    with pytest.raises(ConfigError, match=remedy):
        parse_time(text)
