"""Whatever is no JSON is a ValueError, which all who read JSON look for."""

import pytest

from hpcml.core.json_text import parse_json


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, b"\xff", "", "{", "1" * 10_000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_what_is_json_is_its_value():
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
