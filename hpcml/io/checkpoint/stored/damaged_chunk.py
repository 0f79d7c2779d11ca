"""Is what was written still there, bit for bit? One file, or a part of it."""

from pathlib import Path
from typing import Any

from hpcml.io.files.checksum import file_checksums
from hpcml.io.files.regular import raise_if_short


def damaged_chunk(folder: Path, file: dict[str, Any], first: int = 0, last: int | None = None) -> str | None:
    """Compare chunks of a file with their checksums.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint.
    file : dict
        What its record says of the file.
    first, last : int
        Chunks ``first <= chunk < last``; by default all.

    Returns
    -------
    str or None
        What is wrong; None for nothing.

    Communication
    -------------
    Local.
    """
    path, chunk_bytes = folder / file["file"], file["chunk_bytes"]
    try:
        for index, checksum in file_checksums(path, chunk_bytes, range(first, len(file["crc32"]) if last is None else last)):
            if checksum != file["crc32"][index]:
                where = f"between bytes {index * chunk_bytes} and {min((index + 1) * chunk_bytes, file['bytes'])}"
                return f"{path} (rank {file['rank']}) does not match its checksum {where}: it is damaged"
    except OSError as error:
        raise_if_short(error)
        return f"{path} cannot be read: {error}"
    return None
