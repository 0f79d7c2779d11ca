"""Text that others may have written, made such that a terminal only shows it."""

import unicodedata

LINES = "\n\t"
"""To be kept in what has several lines."""
_JOINERS = "\u200c\u200d\u200e\u200f"
"""Within words of Persian, Hindi or Arabic, and between the parts of one picture: not seen themselves, and harmless."""


def printable(text: str, keep: str = "") -> str:
    r"""Write what moves a cursor, begins a line, turns the direction of text or is no character as Python would escape it.

    Parameters
    ----------
    text : str
        In any language.
    keep : str
        What stays as it is all the same, as the line breaks of a message that has several lines.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> print(printable("größe\x1b[2J\nhpcml: error"))
    größe\x1b[2J\nhpcml: error
    """
    if text.isprintable():
        return text
    return "".join(char if _shows(char) or char in keep else char.encode("unicode_escape").decode() for char in text)


def _shows(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"  # such a space is common in French and Chinese
