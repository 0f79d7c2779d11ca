"""torch's padding modes as boundary rules of windows."""

from collections.abc import Sequence

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain

RULES = {"zeros": "zero", "constant": "constant", "circular": "periodic", "reflect": "reflect", "replicate": "replicate"}


def padding_modes(mode: str | Sequence[str], domain: Domain) -> tuple[str, ...]:
    """Padding mode of every dim.

    Parameters
    ----------
    mode : str or sequence of str
        One of torch's for all dims; one for each; or ``grid``: ``circular`` where the grid is periodic and ``zeros`` elsewhere.
    domain : Domain
        Of the field.

    Raises
    ------
    ConfigError
        For another number of modes than dims.

    Communication
    -------------
    Local, and the same on every rank.
    """
    if mode == "grid":
        return tuple("circular" if periodic else "zeros" for periodic in domain.grid.periodic)
    modes = (mode,) * domain.num_dims if isinstance(mode, str) else tuple(mode)
    if len(modes) != domain.num_dims:
        raise ConfigError(f"padding modes {modes} of a field of {domain.num_dims} dims: give one for each dim, or one for all")
    return modes


def periodic_dims(layer: str, periodic: bool | Sequence[bool], domain: Domain) -> tuple[bool, ...]:
    """Which dims a layer takes as periodic: one flag for all, or one for each.

    Raises
    ------
    ConfigError
        For another number of flags than dims.

    Communication
    -------------
    Local, and the same on every rank.
    """
    flags = (periodic,) * domain.num_dims if isinstance(periodic, bool) else tuple(map(bool, periodic))
    if len(flags) != domain.num_dims:
        raise ConfigError(f"{layer}: periodic={flags} of a field of {domain.num_dims} dims: give one flag for each dim, or one for all")
    return flags


def boundary_rules(layer: str, mode: str | Sequence[str], widths: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[str, ...]:
    """Boundary rule of every dim for a padding mode of torch.

    Parameters
    ----------
    layer : str
        Name for messages.
    mode : str or sequence of str
        ``zeros``, ``constant``, ``circular``, ``reflect`` or ``replicate``; one for all dims or one for each.
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
    modes = (mode,) * len(shape) if isinstance(mode, str) else tuple(mode)
    for d, (mode, pads, n) in enumerate(zip(modes, widths, shape, strict=True)):
        if mode not in RULES:
            raise ConfigError(f"{layer}: unknown padding mode {mode!r}, expected one of {', '.join(RULES)}")
        widest = {"circular": n, "reflect": n - 1}.get(mode, max(pads))
        if max(pads) > widest:
            raise ShapeError(
                f"{layer}: {mode} padding of {max(pads)} cells along dim {d} of {n} cells, where {widest} is the most: pad less, "
                "or use 'zeros' or 'replicate'"
            )
    return tuple(RULES[mode] for mode in modes)
