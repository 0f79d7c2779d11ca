"""How far a step of the plate of `hpcml.online.heat_plate` is from one that its solver takes."""

from collections.abc import Mapping

from torch import Tensor

from hpcml.core.config import Positive
from hpcml.fields.domain import Domain


def heat_plate_residual(
    domain: Domain, parameters: Mapping[str, float], interval: float, before: Tensor, after: Tensor, diffusivity: Positive = 1.0
) -> Tensor:
    """Residual of an implicit Euler step, in degrees per time.

        (u' - u) / dt - diffusivity (u'_xx + u'_yy)        with the temperatures of the walls one node beyond the outermost

    Parameters
    ----------
    domain : Domain
        Of two dims.
    parameters : mapping of str to float
        As `hpcml.online.heat_plate` has them.
    interval : float
        Time step.
    before, after : Tensor
        (sample, 1, *local_shape).
    diffusivity : float
        Of the plate.

    Returns
    -------
    Tensor
        Of the form of ``after``.

    Communication
    -------------
    Neighbors: one halo exchange of width 1.
    """
    (wide,) = domain.halo(after, widths=1, boundary="zero")
    residual = (after - before) / interval
    for dim, names in enumerate((("top", "bottom"), ("left", "right"))):
        axis = 2 + dim
        rate = diffusivity * ((domain.global_shape[dim] + 1) / domain.grid.extent[dim]) ** 2
        line = wide.narrow(5 - axis, 1, after.shape[5 - axis])  # without the ghosts of the other dim
        residual = residual - rate * line.diff(n=2, dim=axis)
        ends = ((0, domain.block[dim].start == 0), (-1, domain.block[dim].stop == domain.global_shape[dim]))
        for name, (cell, is_wall) in zip(names, ends, strict=True):
            if is_wall:
                residual.select(axis, cell).sub_(rate * parameters[name])
    return residual
