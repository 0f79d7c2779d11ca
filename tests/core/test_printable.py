"""Text of others cannot act on a terminal; that of any language stays as it is."""

import pytest

from hpcml.core.printable import LINES, printable

WORDS = ["Größe", "温度 場", "全角\u3000空白", "vitesse\u202f: 3\u00a0m", "µ² ∂u/∂t", "e\u0301", "שלום\u200f!"]
JOINED = ["می\u200cخواهم", "क्\u200dष", "👩\u200d🔬"]
MOVES = ["\x1b[2J", "a\nhpcml: done", "a\rb", "\x07", "\x9b31m", "\x7f", "\0", "\u2028"]
TURNS = ["\u202eabc", "\u2066", "\udcff", "\ue000"]


@pytest.mark.parametrize("text", WORDS + JOINED)
def test_usual_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", MOVES + TURNS)
def test_what_acts_on_a_terminal_is_escaped(text):
    shown = printable(text)
    assert shown.isprintable() and "\\" in shown and shown.isascii()


def test_lines_are_kept_where_asked():
    assert printable("a\n\tb\x1b", LINES) == "a\n\tb\\x1b"
