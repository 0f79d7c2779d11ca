"""How what is no array of real numbers becomes one."""

_REMEDIES = {
    "c": "write the real and the imaginary part of complex numbers as two {places}",
    "M": "write times as numbers, in one unit since one moment",
    "m": "write durations as numbers, in one unit",
    "V": "write each part of a record as an array of its own",
}


def as_real_numbers(kind: str, places: str) -> str:
    """What to do about an array, to end an error's message with.

    Parameters
    ----------
    kind : str
        Of its elements, as NumPy has it: ``c`` for complex numbers.
    places : str
        What stands beside one another where it is read: channels or fields.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> as_real_numbers("c", "channels")
    'write the real and the imaginary part of complex numbers as two channels'
    """
    return _REMEDIES.get(kind, "write numbers in place of text and of other objects").format(places=places)
