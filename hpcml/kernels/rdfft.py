"""Real fast Fourier transform in place: the spectrum of n real numbers in the same n numbers."""

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.kernels.batched_grid import BatchedGrid
from hpcml.kernels.device import MAX_THREADS
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.rdfft_twin import irdfft_twin, rdfft_twin

RDFFT = Kernel("rdfft", "rdfft", rdfft_twin, strided=("a",))
IRDFFT = Kernel("rdfft", "irdfft", irdfft_twin, strided=("a",))


def rdfft_(a: Array) -> None:
    """Replace every row (the last dim) by its discrete Fourier transform.

        y_k = sum_j a_j exp(-2 pi i j k / n);      afterwards  a_k = Re y_k  for k <= n / 2,   a_(n - k) = Im y_k  for 0 < k < n / 2

    Parameters
    ----------
    a : array of float32 or float64, (..., n)
        Rows contiguous, n a power of two; written.

    Raises
    ------
    ShapeError
        For another length, or rows that are not contiguous or not evenly spaced.

    Communication
    -------------
    Local. Deterministic on one device; sines may differ in the last bit between devices.

    Notes
    -----
    Not normalised, as `numpy.fft.rfft`, whose result is a_k + i a_(n - k). No other array is made, which `rfft` needs and which an
    optimiser's memory has no room for; a table of sines would make it faster and be such an array. The layout is FFTW's half-complex one.

    References
    ----------
    X. Ding et al., rdFFT: in-place real fast Fourier transform, NeurIPS 2025.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([1.0, 2.0, 3.0, 4.0])
    >>> rdfft_(a)
    >>> a
    array([10., -2., -2.,  2.])
    """
    _transform(RDFFT, a)


def irdfft_(a: Array) -> None:
    """Replace every packed spectrum by its row: the inverse of `rdfft_`, 1 / n included; parameters and errors are those of `rdfft_`."""
    _transform(IRDFFT, a)


def _transform(kernel: Kernel, a: Array) -> None:
    rows = BatchedGrid.of(a, 1, "the array")
    n = rows.shape[0]
    if n < 1 or n & (n - 1):
        raise ShapeError(f"the in-place transform needs rows of a power of two, got {n}: pad them or use rfft")
    bits = n.bit_length() - 1
    shape = ((1, max(1, min(rows.batch, 1 << 15)), 1), (max(1, min(MAX_THREADS, n // 2)), 1, 1))
    kernel(a, rows.batch, rows.batch_stride, n, bits, extent=(n, rows.batch), shape=shape)
