"""Sums, maxima and minima over ranks: the one place where numbers of several ranks become one.

    all_sum(x)  = sum over ranks r of x_r, on every rank; all_max and all_min likewise
    InPlaceSum  : the sum into the buffer itself, prepared once and called at every step, blocking or in the background

Python numbers, NumPy arrays and torch tensors are taken alike. All of this is outside of autograd; `hpcml.parallel` has the reductions
with a derivative.
"""

from typing import Any, Generic, TypeVar

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.mpi.gpu_aware import gpu_aware
from hpcml.mpi.meeting import Meeting, describe, meet
from hpcml.mpi.patience import give_up, wait

Value = TypeVar("Value", bool, int, float, complex, np.ndarray, torch.Tensor)

_VIA_FLOAT32 = (torch.float16, torch.bfloat16)


class InPlaceSum:
    """Sum of one buffer over ranks, which replaces the buffer's content on each of them.

    Parameters
    ----------
    buffer : numpy.ndarray or torch.Tensor, contiguous, any dtype but bool
        Of the same shape and dtype on all ranks; empty is allowed. Its memory must stay where it is.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Raises
    ------
    ShapeError
        If the buffer is not contiguous, not writable, or boolean.

    Communication
    -------------
    Building is local. A sum is collective: one all-reduce of the buffer's bytes. 16-bit floats travel and are summed in float32; GPU
    memory is staged through pinned host memory unless `gpu_aware`. All ranks get the same bits; another number of ranks may give
    another last digit.

    Notes
    -----
    Between `start` and `wait` the buffer must be left alone. Most MPI libraries move data only while the rank is inside an MPI call.

    Examples
    --------
    >>> gradient = torch.ones(3)
    >>> add_up = InPlaceSum(gradient, MPI.COMM_SELF)
    >>> add_up()
    >>> gradient
    tensor([1., 1., 1.])
    """

    def __init__(self, buffer: np.ndarray | torch.Tensor, comm: MPI.Intracomm) -> None:
        self.comm = comm
        self._alone, self._empty = comm.size == 1, 0 in buffer.shape
        self._meeting: Meeting | None = None
        self._request: MPI.Request | None = None
        self._staging: torch.Tensor | None = None
        self._stream: torch.cuda.Stream | None = None
        if isinstance(buffer, np.ndarray) and not (buffer.flags.c_contiguous and buffer.flags.writeable):
            raise ShapeError(f"sum in place on rank {comm.rank}: expected a contiguous writable array, got strides {buffer.strides}")
        self._buffer = torch.from_numpy(buffer) if isinstance(buffer, np.ndarray) else buffer.detach()
        if self._buffer.dtype == torch.bool or not self._buffer.is_contiguous():
            raise ShapeError(
                f"sum in place on rank {comm.rank}: expected a contiguous buffer of numbers, got {self._buffer.dtype} of shape "
                f"{tuple(buffer.shape)} with strides {self._buffer.stride()}; pass .contiguous(), or use all_sum"
            )
        self._facts = facts(self._buffer)
        half, staged = self._buffer.dtype in _VIA_FLOAT32, self._buffer.is_cuda and not gpu_aware()
        if half or staged:
            dtype, device = torch.float32 if half else self._buffer.dtype, "cpu" if staged else self._buffer.device
            self._staging = torch.empty(self._buffer.shape, dtype=dtype, device=device, pin_memory=staged)
        work = self._buffer if self._staging is None else self._staging
        # A tensor costs MPI ten times an array's look-up; a rank that is alone asks nothing of the memory, which may be of any device.
        self._for_mpi: object = work if work.is_cuda or self._alone else work.numpy()
        if work.is_cuda:
            self._stream = torch.cuda.current_stream(work.device)

    def __call__(self) -> None:
        """Sum, and return when the buffer holds the result."""
        if not self._alone:
            meet(self.comm, "sum", *self._facts)
            if not self._empty:
                self._pack()
                _sum(self._for_mpi, self.comm)
                self._unpack()

    def start(self) -> None:
        """Begin the sum and return at once."""
        if self._meeting is not None:
            raise CommunicationError(f"a sum was started twice on rank {self.comm.rank}: wait for the first")
        if not self._alone:
            self._meeting = Meeting(self.comm, "sum in the background", *self._facts)
            if not self._empty:
                self._pack()
                self._request = self.comm.Iallreduce(MPI.IN_PLACE, self._for_mpi, MPI.SUM)

    def wait(self) -> None:
        """Return when the buffer holds the sum that `start` began."""
        meeting, self._meeting = self._meeting, None
        if meeting is not None:
            meeting.wait()
        if self._request is not None:
            wait(self._request.Test, lambda: describe("sum in the background", self._facts), self.comm)
            self._request = None
            self._unpack()

    def _pack(self) -> None:
        if self._staging is not None:
            self._staging.copy_(self._buffer)
        if self._stream is not None:
            self._stream.synchronize()

    def _unpack(self) -> None:
        if self._staging is not None:
            self._buffer.copy_(self._staging)

    def __del__(self) -> None:
        request = getattr(self, "_request", None)
        if request is not None:
            give_up(request, self._for_mpi)


class PendingSum(Generic[Value]):
    """A sum under way, from `start_sum`."""

    def __init__(self, value: Value, comm: MPI.Intracomm) -> None:
        self._value: Value = value
        self._copy = _copy(value)
        self._sum = InPlaceSum(self._copy, comm)
        self._sum.start()

    def wait(self) -> Value:
        """Give the sum over ranks."""
        self._sum.wait()
        return _like(self._copy, self._value)


def start_sum(value: Value, comm: MPI.Intracomm) -> PendingSum[Value]:
    """Begin the sum of a value over ranks; ``start_sum(x, comm).wait()`` is ``all_sum(x, comm)``.

    Communication
    -------------
    Collective, non-blocking. The value is copied and may be changed at once.
    """
    return PendingSum(value, comm)


def all_sum(value: Value, comm: MPI.Intracomm) -> Value:
    """Sum of a value over ranks.

    Parameters
    ----------
    value : number, numpy.ndarray or torch.Tensor
        Of the same shape and dtype on all ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    number, numpy.ndarray or torch.Tensor
        Of the type, dtype and device of the value, detached; booleans are counted in integers.

    Communication
    -------------
    Collective: one all-reduce; see `InPlaceSum`.

    Examples
    --------
    >>> all_sum(2.5, MPI.COMM_SELF)
    2.5
    """
    copy = _copy(value)
    if isinstance(copy, np.ndarray) and copy.dtype != np.float16:
        meet(comm, "sum", *facts(copy))
        _sum(copy, comm)
    else:
        InPlaceSum(copy, comm)()
    return _like(copy, value)


def all_max(value: Value, comm: MPI.Intracomm) -> Value:
    """Largest value over ranks, entry by entry. NaN on any rank gives NaN on all; for booleans: whether any is true.

    Raises
    ------
    ShapeError
        For complex numbers, which have no order.

    Communication
    -------------
    Collective: one all-reduce, of twice the bytes for floats (MPI's own maximum may lose a NaN); staged through the host.
    """
    return _extreme(value, comm, MPI.MAX, -np.inf)


def all_min(value: Value, comm: MPI.Intracomm) -> Value:
    """Smallest value over ranks, entry by entry; see `all_max`. For booleans: whether all are true.

    Communication
    -------------
    Collective, as `all_max`.
    """
    return _extreme(value, comm, MPI.MIN, np.inf)


def _sum(buffer: Any, comm: MPI.Intracomm) -> None:
    """Add up buffers that MPI can read, for `all_sum` and a blocking `InPlaceSum`; some Python numbers are summed by `comm.allreduce`."""
    MPI.Intracomm.Allreduce(comm, MPI.IN_PLACE, buffer, MPI.SUM)  # all ranks are here


def _extreme(value: Value, comm: MPI.Intracomm, op: MPI.Op, weakest: float) -> Value:
    copy = _copy(value, count=False)
    if comm.size == 1 and isinstance(copy, torch.Tensor) and not copy.is_complex():
        return _like(copy, value)
    array = copy if isinstance(copy, np.ndarray) else copy.to("cpu", torch.float32 if copy.dtype in _VIA_FLOAT32 else copy.dtype).numpy()
    if array.dtype.kind == "c":
        raise ShapeError(f"complex numbers have no largest or smallest (rank {comm.rank}): reduce the real part, or the absolute value")
    meet(comm, "maximum" if op == MPI.MAX else "minimum", *facts(copy))
    if array.dtype.kind == "f":
        nan = np.isnan(array)
        pair = np.stack([np.where(nan, weakest, array), np.where(nan, -weakest, weakest)]).astype(array.dtype)
        MPI.Intracomm.Allreduce(comm, MPI.IN_PLACE, pair, op)
        array = np.where(pair[1] == -weakest, np.nan, pair[0]).astype(array.dtype)
    elif array.size:
        bits = array.view(np.uint8) if array.dtype == np.bool_ else array
        MPI.Intracomm.Allreduce(comm, MPI.IN_PLACE, bits, op)
    return _like(array if isinstance(copy, np.ndarray) else torch.from_numpy(array), value)


def _copy(value: Value, count: bool = True) -> np.ndarray | torch.Tensor:
    """Give a contiguous copy to work in; with ``count``, booleans become integers."""
    if isinstance(value, torch.Tensor):
        copy = value.detach().clone(memory_format=torch.contiguous_format)
        copy = copy.resolve_conj().resolve_neg() if copy.is_conj() or copy.is_neg() else copy
        return copy.to(torch.int64) if count and copy.dtype == torch.bool else copy
    array = np.array(value, order="C")
    return array.astype(np.int64) if count and array.dtype == np.bool_ else array


def facts(value: np.ndarray | torch.Tensor) -> tuple[str, tuple[int, ...]]:
    """What of an array must be alike on all ranks: dtype and shape.

    Communication
    -------------
    Local.
    """
    return str(value.dtype).removeprefix("torch."), tuple(value.shape)


def _like(result: Any, value: Value) -> Any:
    if isinstance(value, torch.Tensor):
        same = result.dtype == value.dtype and result.device == value.device
        return result if same else result.to(value.device, result.dtype if value.dtype == torch.bool else value.dtype)
    return result if isinstance(value, np.ndarray) else result.item() if isinstance(value, bool | int | float | complex) else result[()]
