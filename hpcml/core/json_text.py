"""JSON that was written before, or by others: what is no JSON is one kind of error, however it is wrong."""

import json
from typing import Any


def parse_json(text: str | bytes | bytearray) -> Any:
    """Value of JSON text.

    Raises
    ------
    ValueError
        For what is no JSON, is no text, or is nested too deeply for Python's parser.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> parse_json('{"step": 3}')
    {'step': 3}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None
