"""A block must lie in its array."""

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io import Blocked, Rows


@pytest.mark.parametrize(("offset", "global_shape"), [((3, 0), (4, 3)), ((-1, 0), (4, 3)), ((0,), (4,)), ((0, 0, 0), (4, 3, 1))])
def test_a_block_outside_its_array_is_refused(offset, global_shape):
    with pytest.raises(CheckpointError, match=r"shape \(2, 3\) at offset"):
        Blocked(np.zeros((2, 3)), offset, global_shape)


def test_rows_need_a_dim():
    with pytest.raises(CheckpointError, match="counts the rows"):
        Rows(np.zeros(()))
