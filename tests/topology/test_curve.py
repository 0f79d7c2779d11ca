"""Hilbert's curve visits every cell once, and goes from neighbor to neighbor."""

import numpy as np
import pytest

from hpcml.topology.curve import hilbert_number


@pytest.mark.parametrize(("dims", "bits"), [(1, 5), (2, 1), (2, 5), (3, 3)])
def test_steps_lead_to_neighbors(dims, bits):
    cells = np.stack(np.meshgrid(*[np.arange(2**bits)] * dims, indexing="ij"), -1).reshape(-1, dims)
    numbers = hilbert_number(cells.astype(np.uint64), bits)
    order = np.argsort(numbers)
    assert np.array_equal(numbers[order], np.arange(len(cells)))
    assert (np.abs(np.diff(cells[order], axis=0)).sum(1) == 1).all()
