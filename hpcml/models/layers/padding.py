"""torch's padding modes as boundary rules of windows."""

from collections.abc import Sequence

from hpcml.core.errors import ConfigError, ShapeError

RULES = {"zeros": "zero", "constant": "constant", "circular": "periodic", "reflect": "reflect", "replicate": "replicate"}


def boundary_rules(layer: str, mode: str, widths: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[str, ...]:
    """Boundary rule of every dim for a padding mode of torch.

    Parameters
    ----------
    layer : str
        Name for messages.
    mode : str
        ``zeros``, ``constant``, ``circular``, ``reflect`` or ``replicate``.
    widths : sequence of (int, int)
        Cells added below and above along each dim.
    shape : sequence of int
        Global cells.

    Raises
    ------
    ConfigError
        For another mode.
    ShapeError
        Where torch would refuse the width: ``circular`` reaches once around, ``reflect`` less than once to the other end.

    Communication
    -------------
    Local, and the same on every rank.
    """
    if mode not in RULES:
        raise ConfigError(f"{layer}: unknown padding mode {mode!r}, expected one of {', '.join(RULES)}")
    for d, (pads, n) in enumerate(zip(widths, shape, strict=True)):
        widest = {"circular": n, "reflect": n - 1}.get(mode, max(pads))
        if max(pads) > widest:
            raise ShapeError(
                f"{layer}: {mode} padding of {max(pads)} cells along dim {d} of {n} cells, where {widest} is the most: pad less, "
                "or use 'zeros' or 'replicate'"
            )
    return (RULES[mode],) * len(shape)
