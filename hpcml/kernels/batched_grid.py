"""Arrays of shape (..., planes, rows, cells) as the grid kernels see them: one batch, and strides."""

import math
from dataclasses import dataclass

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info


@dataclass(frozen=True, slots=True)
class BatchedGrid:
    """Leading dims joined into ``batch``, a stride (in elements) from one entry to the next, then shape and strides of the spatial dims."""

    batch: int
    batch_stride: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: Array, dims: int, name: str) -> "BatchedGrid":
        """Read an array with ``dims`` spatial dims.

        Raises
        ------
        ShapeError
            For too few dims, rows that are not contiguous, or leading dims that do not lie evenly spaced in memory.
        """
        info = array_info(array)
        lead = len(info.shape) - dims
        if lead < 0:
            raise ShapeError(f"{name} needs {dims} spatial dims, got shape {info.shape}")
        if info.shape[-1] > 1 and info.strides[-1] != 1:
            raise ShapeError(f"rows of {name} must be contiguous, got strides {info.strides}: pass a copy")
        batch, stride = 1, 0
        for count, step in zip(reversed(info.shape[:lead]), reversed(info.strides[:lead]), strict=True):
            if count > 1 and batch > 1 and step != batch * stride:
                raise ShapeError(
                    f"leading dims of {name} must lie evenly spaced, got shape {info.shape}, strides {info.strides}: pass a copy"
                )
            stride = step if batch == 1 else stride
            batch *= count
        return cls(batch, stride, info.shape[lead:], info.strides[lead:])

    @property
    def cells(self) -> int:
        return self.batch * math.prod(self.shape)

    @property
    def extent(self) -> tuple[int, ...]:
        """Iteration space (x, y, z) of a launch; in two dims z is the batch."""
        return (*reversed(self.shape), self.batch) if len(self.shape) == 2 else tuple(reversed(self.shape))

    @property
    def steps(self) -> tuple[int, ...]:
        """Strides of the batch and of all spatial dims but the last, as the kernels take them."""
        return (self.batch_stride, *self.strides[:-1])

    def require_around(self, inner: "BatchedGrid", name: str) -> None:
        """Check that this grid holds the cells of ``inner`` and one ghost cell on every side.

        Raises
        ------
        ShapeError
            For any other shape or batch.
        """
        expected = tuple(n + 2 for n in inner.shape)
        if self.shape != expected or self.batch != inner.batch:
            raise ShapeError(
                f"{name} needs one ghost cell on every side: expected {inner.batch} x {expected}, got {self.batch} x {self.shape}"
            )
