"""Times that hold for every trajectory."""

import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.axis import same_times


def common_times(rows: np.ndarray, path: str) -> tuple[float, ...]:
    """Times of the first trajectory; others may begin earlier or later, but go on in the same steps.

    Parameters
    ----------
    rows : numpy.ndarray
        (trajectory, time).
    path : str
        The file, for the message.

    Raises
    ------
    CheckpointError
        Naming a trajectory that goes on in other steps, or whose times are not finite.

    Communication
    -------------
    Local.
    """
    if rows.shape[1] == 0:
        return ()
    unknown = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(unknown):
        raise CheckpointError(f"{path}: the times of trajectory {unknown[0]} are not all finite: write a time for each of its states")
    first = rows[0].astype(float)
    since, shift = first - first[0], rows[:, :1].astype(float)
    scale = float(np.abs(rows).max())
    for number in np.flatnonzero((rows != rows[0]).any(1)).tolist():
        if not same_times(since.tolist(), (rows[number].astype(float) - shift[number]).tolist(), scale):
            raise CheckpointError(
                f"{path}: trajectory {number} has its values at other times than trajectory 0, {rows[number, 0]:g} to "
                f"{rows[number, -1]:g} instead of {first[0]:g} to {first[-1]:g}: write trajectories of the same times into a file"
            )
    return tuple(first.tolist())
