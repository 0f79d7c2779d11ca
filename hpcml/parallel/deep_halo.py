"""Ghost cells wide enough for several steps: fewer messages for some cells that two ranks both compute."""

from typing import Any

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.transfers import Index


class DeepHalo:
    """Exchange only when the ghosts of a `HaloPlan` are used up, and say which cells to compute meanwhile.

    With ghosts of width k r and a stencil of reach r, step j of every k computes the owned cells and (k - 1 - j) r ghosts around them. Each
    cell is computed from the same numbers as on one rank, so the result is the same to the last bit.

    Parameters
    ----------
    plan : HaloPlan
        With corners, and ghosts in the dims in which ranks share the grid or in which it is periodic.
    reach : int
        Of the stencil, along every dim that has ghosts.

    Attributes
    ----------
    interval : int
        k, steps from one exchange to the next.

    Raises
    ------
    ShapeError
        If the ghosts do not suffice for one step.

    Communication
    -------------
    That of `HaloPlan.exchange` in every k-th step; the others are local.

    Notes
    -----
    Whether it pays is a matter of measurement: messages become fewer but not smaller, and the rims are computed twice. Ghosts outside a
    grid that is not periodic are the caller's at every step, and are not computed.

    Examples
    --------
    Two steps of the mean of neighbors with one exchange:

    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from hpcml.parallel import Layout
    >>> u, v = np.array([0.0, 0, 4, 0, 8, 0, 0, 0]), np.zeros(8)
    >>> with HaloPlan(MPI.COMM_SELF, Layout.blocks((4,), (1,)), u, widths=2, periodic=True) as plan:
    ...     halo = DeepHalo(plan)
    ...     for _ in range(2):
    ...         (_, cells) = halo.step(u)
    ...         v[cells] = (u[cells.start - 1 : cells.stop - 1] + u[cells.start + 1 : cells.stop + 1]) / 2
    ...         u, v = v, u
    ...     u[plan.interior]
    array([6., 0., 6., 0.])
    """

    def __init__(self, plan: HaloPlan, reach: int = 1) -> None:
        widths = [width for sides in plan.widths for width in sides if width]
        if reach < 1 or min(widths, default=0) < reach:
            raise ShapeError(
                f"ghosts of {plan.widths} do not suffice for a step of a stencil of reach {reach}: make the plan with wider ones"
            )
        self.plan, self.interval = plan, min(widths) // reach
        self._regions = [self._widened((self.interval - 1 - j) * reach) for j in range(self.interval)]
        self._done = 0

    def step(self, *fields: Array) -> Index:
        """Make the fields ready to be read in this step, and give the index of the cells to compute from them."""
        number = self._done % self.interval
        if number == 0:
            self.plan.exchange(*fields)
        self._done += 1
        return self._regions[number]

    def restart(self) -> None:
        """Exchange in the next step, whatever is left: the fields were changed from outside."""
        self._done = 0

    def _widened(self, by: int) -> Index:
        """The owned cells and as many ghosts on every side that has some inside the grid."""
        places: list[Any] = [Ellipsis]
        for own, (low, up), (opens, ends) in zip(self.plan.interior[1:], self.plan.widths, self.plan.at_edge, strict=True):
            places.append(slice(own.start - (by if low and not opens else 0), own.stop + (by if up and not ends else 0)))
        return tuple(places)
