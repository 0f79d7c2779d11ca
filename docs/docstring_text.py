"""Docstrings are written for the reader of the source; this makes reStructuredText of them.

In them an indented block after an empty line is an equation or a picture, to be shown as it stands, and a lone ``*`` or ``|`` means itself,
as in ``(batch, channel, *local)`` and ``|x|``.
"""

import re

# In these sections indentation belongs to an entry, not to a picture.
_ENTRIES = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Other Parameters", "Warns", "Examples"}
_STAR = re.compile(r"(?<![\w*`\\])(?<!^)\*(?=[\w(])(?!\w[^*]*\w\*(?!\w))")  # not *emphasis*, nor the parameter *args, which napoleon knows
_BAR = re.compile(r"(?<!\\)\|(?=\S)")


def to_rst(app, what, name, obj, options, lines):
    """Rewrite the lines of one docstring in place; a handler of ``autodoc-process-docstring`` that runs before napoleon."""
    result, section, shown = [], "", False
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if len(following) >= 3 and set(following) == {"-"}:
            section = line.strip()
        indented, fresh = line.startswith(" "), bool(result) and not result[-1].strip()
        if indented and fresh and not shown and section not in _ENTRIES and not _opens_block(result):
            result += ["::", ""]
        if line.strip():
            shown = indented and (shown or fresh) and section not in _ENTRIES
        result.append(line if shown else _literal_marks(line))
    lines[:] = result


def _opens_block(lines):
    """Whether the text so far already announces what follows: with ``::``, or as a directive or an item of a list."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.endswith("::") or last.startswith((".. ", "- ", "* "))


def _literal_marks(line):
    """Escape marks that mean themselves, outside of ``literals`` and `names`."""
    parts = re.split(r"(``.*?``|`.*?`)", line)
    parts[::2] = [_BAR.sub(r"\\|", _STAR.sub(r"\\*", part)) for part in parts[::2]]
    return "".join(parts)
