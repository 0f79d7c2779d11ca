"""How fast the kernels are on this CPU, next to NumPy and torch in the same run and on one thread."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from hpcml.core.malloc import keep_results_below
from hpcml.kernels.box import BoxPlan
from hpcml.kernels.conv import convolve, weight_gradient
from hpcml.kernels.segment import Edges, gather_sum
from hpcml.kernels.stencil import bind_star_stencil
from hpcml.mpi.threads import one_torch_thread

Work = Callable[[], object]
STENCIL_BYTES = 9 << 20  # results of the stencil are larger, all others smaller
IN_A_ROW = 5  # calls of one way before the next has its turn: the first finds the others' data in the caches


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kernel against one way to do the same without it: times in seconds and their ratio, medians over the rounds."""

    name: str
    case: str
    kernel_s: float
    other_s: float
    ratio: float


def compare_kernels(rounds: int = 15) -> list[Comparison]:
    """Time every kernel and its rivals.

    Parameters
    ----------
    rounds : int
        How often everything runs; kernel and rivals take turns, so that whatever else the machine does meets all alike.

    Returns
    -------
    list of Comparison
        ``stencil7_vs_numpy``, ``stencil7_vs_torch``, ``segment_vs_torch`` and more.

    Communication
    -------------
    Local.

    Notes
    -----
    A round's time is the best of a few calls in a row, and a ratio is taken within the round: a machine that does other work slows
    both, and the median leaves out the rounds in which it slowed one. torch is held to one thread meanwhile.
    """
    with one_torch_thread():
        return [comparison for case in _CASES for comparison in _timed(case(), rounds)]


Case = tuple[str, Work, dict[str, Work]]


def _timed(case: Case, rounds: int) -> Iterator[Comparison]:
    description, kernel, rivals = case
    works = {"kernel": kernel, **rivals}
    times = {name: np.empty(rounds) for name in works}
    for k in range(rounds):
        for name, work in works.items():
            times[name][k] = min(_seconds(work) for _ in range(IN_A_ROW))
    own = times["kernel"]
    for name in rivals:
        yield Comparison(name, description, *(float(np.median(t)) for t in (own, times[name], times[name] / own)))


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _stencil() -> Case:
    keep_results_below(STENCIL_BYTES)
    n, weights = 128, (-6.0, (1.0, 1.0, 1.0))
    u = np.random.default_rng(0).standard_normal((n + 2, n + 2, n + 2))
    other, pair = np.empty((2, n, n, n))
    memory = np.empty(n**3 + 8)  # huge pages, as the rivals' arrays have, but from a cache line on, as torch's have
    first = -memory.ctypes.data // memory.itemsize % 8
    out = memory[first : first + n**3].reshape(n, n, n)
    slices = [(_shifted(u, d, -1), _shifted(u, d, 1)) for d in range(3)]
    tensor_slices = [(torch.from_numpy(low), torch.from_numpy(high)) for low, high in slices]
    centre = u[1:-1, 1:-1, 1:-1]
    tensor_centre = torch.from_numpy(centre)

    def by_numpy() -> None:
        np.multiply(centre, weights[0], out=other)
        for weight, (low, high) in zip(weights[1], slices, strict=True):
            np.add(low, high, out=pair)
            np.multiply(pair, weight, out=pair)
            np.add(other, pair, out=other)

    def by_torch() -> torch.Tensor:
        terms = (weight * (low + high) for weight, (low, high) in zip(weights[1], tensor_slices, strict=True))
        return sum(terms, weights[0] * tensor_centre)

    rivals: dict[str, Work] = {"stencil7_vs_numpy": by_numpy, "stencil7_vs_torch": by_torch}
    return f"7-point stencil, {n}^3 float64", bind_star_stencil(out, u, *weights), rivals


def _shifted(u: np.ndarray, dim: int, step: int) -> np.ndarray:
    """The inner cells, seen one step further along a dim."""
    return u[tuple(slice(1 + step, n - 1 + step) if d == dim else slice(1, n - 1) for d, n in enumerate(u.shape))]


def _segment() -> Case:
    nodes, edges, width = 10_000, 60_000, 32
    rng = np.random.default_rng(0)
    source, target = (torch.from_numpy(rng.integers(0, nodes, edges)) for _ in range(2))
    plan, x = Edges.between(source, target, nodes, nodes), torch.randn(nodes, width)
    rivals: dict[str, Work] = {"segment_vs_torch": lambda: torch.zeros(nodes, width).index_add_(0, target, x[source])}
    return f"gathered segment sum, {edges} edges of {width} float32", lambda: gather_sum(x, plan), rivals


def _conv() -> Case:
    x, weight = torch.randn(1, 8, 128, 128), torch.randn(8, 8, 3, 3)
    dy = torch.randn(1, 8, 128, 128)

    def ours() -> None:
        convolve(x, weight, padding=(1, 1))
        convolve(dy, weight, padding=(1, 1), adjoint=True)
        weight_gradient(dy, x, (3, 3), (1, 1))

    def by_torch() -> None:
        functional.conv2d(x, weight, padding=1)
        torch.ops.aten.convolution_backward(dy, x, weight, [8], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, True])

    return "3x3 convolution and its gradients, 128^2, 8 channels of float32", ours, {"conv_vs_torch": by_torch}


def _face() -> Case:
    n = 64
    field = torch.randn(n + 2, n + 2, n + 2, dtype=torch.float64)
    face = (slice(1, -1), slice(1, -1), 1)
    plan, array = BoxPlan([field], [(0, face)]), field.numpy()
    buffer = torch.empty(plan.nbytes // 8, dtype=torch.float64)
    packed = buffer.view(n, n).numpy()

    def element_by_element() -> None:
        for i in range(n):
            for j in range(n):
                packed[i, j] = array[i + 1, j + 1, 1]

    rivals: dict[str, Work] = {"pack_vs_elements": element_by_element, "pack_vs_numpy": lambda: np.copyto(packed, array[face])}
    return f"pack a face of the unit-stride dim, {n}^3 float64", plan.bind("pack", buffer, field), rivals


_CASES: tuple[Callable[[], Case], ...] = (_stencil, _segment, _conv, _face)
