"""Memory that processes of this node may still take: what is free, or what their control groups leave them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NO_LIMIT = 1 << 62


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this node has, and that none of the control groups of this process refuses, as those of a batch job do.

    What files have in memory, and can be read again, counts as free.

    Parameters
    ----------
    proc, groups : Path
        Where Linux tells. Where it does not there is no limit.

    Communication
    -------------
    Local.

    References
    ----------
    Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst of Linux.
    """
    return min(_available(proc / "meminfo"), *_left(proc / "self" / "cgroup", groups))


def _available(path: Path) -> int:
    for line in _read(path).splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return _NO_LIMIT


def _left(path: Path, groups: Path) -> Iterator[int]:
    """Of each group that holds this process, in either version."""
    yield _NO_LIMIT
    for line in _read(path).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, limit, used, cached = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cached = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = root / name.strip("/")
        for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
            with suppress(ValueError):  # "max", or no such file: a container sees the name of a group outside of it
                most, taken = int(_read(folder / limit)), int(_read(folder / used))
                kept = dict(pair for row in _read(folder / "memory.stat").splitlines() if len(pair := row.split()) == 2)
                yield max(0, most - taken + int(kept.get(cached, 0)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
