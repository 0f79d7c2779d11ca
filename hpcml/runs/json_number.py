"""Numbers as JSON has them."""

import math


def json_number(value: float) -> float | None:
    """A number; None, in JSON null, where it is NaN or infinite, which JSON has not.

    Examples
    --------
    >>> json_number(0.5), json_number(math.inf)
    (0.5, None)

    Communication
    -------------
    Local.
    """
    return value if math.isfinite(value) else None
