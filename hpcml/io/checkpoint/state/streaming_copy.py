"""Arrays copied past the caches in one call of C: two thirds of the traffic to memory, and Python is free meanwhile."""

import ctypes
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.core.errors import DeviceError
from hpcml.kernels.shared_library import shared_library

_log = logging.getLogger(__name__)


def copy_all(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Copy arrays.

    Parameters
    ----------
    pairs : iterable of (target, source)
        Two tensors or two NumPy arrays each, of one shape. What does not lie in one piece, is of another type, or finds no compiler, is
        copied as its library does it; what lies on a GPU travels meanwhile.

    Communication
    -------------
    Local.
    """
    function, words, held, on_gpu = streaming_function(), [], [], []
    for target, source in pairs:
        places = _address(target), _address(source)
        if function is not None and all(places) and source.dtype == target.dtype:
            words += [*places, source.nbytes]
            held.append(source)  # a view may be all that keeps its memory
        elif getattr(source, "is_cuda", False):
            on_gpu.append((target, source))
        elif isinstance(target, np.ndarray):
            np.copyto(target, source)
        else:
            target.copy_(source)
    finish = None
    if on_gpu:
        from hpcml.mpi.host_copy import begin_copies  # torch, which whoever holds such arrays has imported

        finish = begin_copies(on_gpu)
    if function is not None and words:
        function((ctypes.c_uint64 * len(words))(*words), len(words) // 3)
    if finish is not None:
        finish()


def _address(array: Any) -> int:
    """Where the elements lie in one piece, as they are; 0 where they do not."""
    if isinstance(array, np.ndarray):
        return int(array.ctypes.data) if array.flags.c_contiguous else 0
    plain = array.device.type == "cpu" and array.is_contiguous() and not array.is_conj() and not array.is_neg()
    return int(array.data_ptr()) if plain else 0


@lru_cache
def streaming_function() -> Callable[[Any, int], None] | None:
    """The C function behind `copy_all`, compiled once per node; None where that is not possible."""
    try:
        library = shared_library(Path(__file__).with_suffix(".cpp"))
    except (DeviceError, OSError) as error:
        _log.info("checkpoints are copied without streaming stores: %s", error)
        return None
    if library is None:
        return None
    function = library.hpcml_streaming_copy
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_longlong], None
    result: Callable[[Any, int], None] = function
    return result
