"""Replace a small file at once."""

from pathlib import Path

from hpcml.io.replacing import replacing


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside another and give it that one's name: a reader finds the old content or the new, whole.

    Raises
    ------
    OSError
        Where it cannot be written; the old content is then still there.

    Communication
    -------------
    Local.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)
