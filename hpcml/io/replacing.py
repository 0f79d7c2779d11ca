"""Replace a file at once. Standard library only: the keeper of checkpoints imports this file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a file beside another to write; at the end it takes that one's name, so that a reader finds the old content or the new, whole.

    After an exception the file is gone and the old content is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
