"""A time limit in any of the forms that Slurm takes, in seconds, and the form that each batch system wants."""

import re

from hpcml.core.errors import ConfigError

UNLIMITED = ("UNLIMITED", "INFINITE")
MOST_DAYS = 3650
_FORMS = (
    r"(?P<m>\d{1,7})",
    r"(?P<m>\d{1,7}):(?P<s>\d{1,7})",
    r"(?P<h>\d{1,7}):(?P<m>\d{1,7}):(?P<s>\d{1,7})",
    r"(?P<d>\d{1,7})-(?P<h>\d{1,7})",
    r"(?P<d>\d{1,7})-(?P<h>\d{1,7}):(?P<m>\d{1,7})",
    r"(?P<d>\d{1,7})-(?P<h>\d{1,7}):(?P<m>\d{1,7}):(?P<s>\d{1,7})",
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WORDY = re.compile(r"\s*".join(("", *(rf"(?:(\d{{1,7}})\s*{unit}[a-z]*)?" for unit in _SECONDS), "")), re.ASCII | re.IGNORECASE)


def parse_time(text: str) -> int | None:
    """Seconds of a time limit as sbatch takes it; None for no limit.

    Parameters
    ----------
    text : str
        ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes``,
        ``days-hours:minutes:seconds``, or ``UNLIMITED``.

    Raises
    ------
    ConfigError
        For anything else, with the right form of what was probably meant.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> parse_time("90"), parse_time("1-12"), parse_time("00:30:00")
    (5400, 129600, 1800)
    """
    if text.upper() in UNLIMITED:
        return None
    match = next((found for form in _FORMS if (found := re.fullmatch(form, text, re.ASCII))), None)
    if match is None:
        raise ConfigError(f"time {text!r}: {_remedy(text)}; Slurm takes minutes, minutes:seconds, hours:minutes:seconds or days-hours")
    seconds = sum(int(value) * _SECONDS[unit] for unit, value in match.groupdict().items())
    if not 0 < seconds <= MOST_DAYS * 86400:
        raise ConfigError(f"time {text!r}: expected more than no time and at most {MOST_DAYS} days, as in 02:00:00")
    return seconds


def format_time(seconds: int | None, days: bool = True) -> str:
    """``[days-]hours:minutes:seconds``; without days as PBS takes it, hours may be many.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> format_time(93600), format_time(93600, days=False), format_time(None)
    ('1-02:00:00', '26:00:00', 'UNLIMITED')
    """
    if seconds is None:
        return UNLIMITED[0]
    hours, rest = divmod(seconds, 3600)
    front, hours = divmod(hours, 24) if days else (0, hours)
    return (f"{front}-" if front else "") + f"{hours:02}:{rest // 60:02}:{rest % 60:02}"


def _remedy(text: str) -> str:
    """What was probably meant by ``2h``, ``1 day`` or ``1h30m``."""
    wordy = _WORDY.fullmatch(text)
    amounts = [int(amount or 0) for amount in wordy.groups()] if wordy else []
    seconds = sum(amount * unit for amount, unit in zip(amounts, _SECONDS.values(), strict=False))
    return f"write {format_time(seconds)}" if 0 < seconds <= MOST_DAYS * 86400 else "write 02:00:00 for two hours"
