"""Trajectories of one file go on in the same finite steps."""

import warnings

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.common_times import common_times


def test_others_may_begin_later():
    assert common_times(np.array([[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]), "a.h5") == (0.0, 1.0, 2.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("row", "rows"), [(0, [[1.0, 2.0], [0.0, 1.0]]), (1, [[0.0, 1.0], [1.0, 2.0]])])
def test_a_time_that_is_not_finite_is_told(row, rows, value):
    rows[row][0] = value
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match=f"a.h5: the times of trajectory {row} are not all finite"):
        warnings.simplefilter("error")
        common_times(np.array(rows), "a.h5")


def test_other_steps_are_told():
    with pytest.raises(CheckpointError, match="trajectory 1 has its values at other times"):
        common_times(np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]]), "a.h5")
