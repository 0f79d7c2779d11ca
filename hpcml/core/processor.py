"""The processor that a process runs on, by name and by features."""

import platform
from functools import lru_cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_ARM = ("CPU implementer", "CPU variant", "CPU part")


@lru_cache
def processor_name() -> str:
    """As the system names it; a processor of Arm's kind, which has no name there, by implementer and part.

    Communication
    -------------
    Local.
    """
    lines = _lines()
    parts = [f"{key} {lines[key]}" for key in _ARM if key in lines]
    return lines.get("model name") or ", ".join(parts) or platform.processor() or platform.machine()


@lru_cache
def processor_features() -> frozenset[str]:
    """Features by the kernel's names: ``avx512f``, ``sve``; none where the system does not tell."""
    lines = _lines()
    return frozenset((lines.get("flags") or lines.get("Features") or "").split())


def _lines() -> dict[str, str]:
    """What the system says of its last processor."""
    if not _CPUINFO.exists():
        return {}
    pairs = (line.split(":", 1) for line in _CPUINFO.read_text().splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
