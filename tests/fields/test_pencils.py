"""A block is transformed in chunks: all of it, once, in as few as its size asks for."""

import pytest
import torch

from hpcml.fields.pencils import CHUNK_BYTES, _chunks


@pytest.mark.parametrize(
    "shape, free", [((1, 128, 64, 65), 1), ((1, 64, 128, 65), 0), ((2, 128, 64, 65), 1), ((3, 5, 7), 0), ((9, 300, 77), None)]
)
def test_chunks_are_few_and_alike(shape, free):
    t = torch.zeros(shape, dtype=torch.complex64)
    chunks, sizes = list(_chunks(t, free)), set()
    for row, rows, start, size in chunks:
        part = t[row : row + rows]
        part += 1 if free is None else 0
        if free is not None:
            part.narrow(free + 1, start, size).add_(1)
        sizes.add(size)
    assert bool((t == 1).all())
    if free is not None:
        dealt = len({start for _, _, start, _ in chunks})
        assert dealt <= -(-t[0].nbytes // CHUNK_BYTES)
        assert max(sizes) - min(sizes) < dealt  # no chunk of a line that costs as many calls as one of eight
