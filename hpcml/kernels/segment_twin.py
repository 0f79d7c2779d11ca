"""What the segment kernels mean, in torch."""

import torch

from hpcml.kernels.arguments import Array, as_tensor


def gather_sum_twin(out: Array, x: Array, first: Array, source: Array, segments: int, width: int) -> None:
    """Add gathered rows to the row of their segment, in the order of the list."""
    sums, counts = as_tensor(out), as_tensor(first).diff()
    segment = torch.arange(segments, device=counts.device).repeat_interleave(counts)
    sums.zero_().index_add_(0, segment, as_tensor(x)[as_tensor(source)])


def gather_twin(out: Array, x: Array, source: Array, rows: int, width: int) -> None:
    """Copy rows."""
    as_tensor(out).copy_(as_tensor(x)[as_tensor(source)])
