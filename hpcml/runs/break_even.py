"""After how many uses a surrogate has paid for itself."""

import math


def break_even(spent: float, solver: float, surrogate: float) -> float:
    """Solutions from which on it was cheaper to train a surrogate than to solve each time.

        N = B / (C - C_s)

    Parameters
    ----------
    spent : float
        B: seconds of all that was spent on the surrogate, simulations and training.
    solver : float
        C: seconds of a solution by a solver.
    surrogate : float
        C_s: seconds of one by the surrogate.

    Returns
    -------
    float
        Infinite where the surrogate is not the faster.

    Notes
    -----
    In the published sense C is that of the cheapest solver with an error as large as the surrogate's, at whatever resolution. With the C of
    the solver that was learned from, which is more exact and slower, N is a lower bound of that.

    References
    ----------
    Breakeven complexity, arXiv:2605.15399.

    Examples
    --------
    >>> break_even(100.0, solver=3.0, surrogate=1.0)
    50.0
    """
    return spent / (solver - surrogate) if solver > surrogate else math.inf
