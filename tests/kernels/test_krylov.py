"""Fused vector updates have the bits of their twins."""

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels import krylov, krylov_twin

UPDATES = {"axpy": (2, 1), "xpby": (2, 1), "cg_update": (4, 1), "bicgstab_direction": (3, 2), "bicgstab_update": (5, 2)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1,), (1000,), (7, 11, 3)], ids=str)
@pytest.mark.parametrize("name", UPDATES)
def test_updates_are_bit_equal_to_their_twins(backend, device, name, shape, dtype):
    vectors, scalars = UPDATES[name]
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, dtype=dtype, generator=generator).to(device) for _ in range(vectors)]
    theirs = [v.clone() for v in ours]
    numbers = (1.7, -0.3)[:scalars]
    getattr(krylov, name)(*ours, *numbers)
    getattr(krylov_twin, f"{name}_twin")(*theirs, *numbers, ours[0].numel())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_conjugate_gradients_made_of_them_converge(backend, device):
    n = 20
    matrix = torch.diag(torch.arange(1.0, n + 1, dtype=torch.float64)).to(device) + 0.1
    b = torch.ones(n, dtype=torch.float64, device=device)
    x, r = torch.zeros_like(b), b.clone()
    p, rr = r.clone(), r @ r
    for _ in range(2 * n):
        q = matrix @ p
        krylov.cg_update(x, r, p, q, float(rr / (p @ q)))
        rr, before = r @ r, rr
        krylov.xpby(p, r, float(rr / before))
    # Twice as many steps as unknowns: the residual is at round-off, times the condition number of 20.
    assert (matrix @ x - b).abs().max() < 1e-12


def test_vectors_of_other_sizes_are_named():
    with pytest.raises(ShapeError, match=r"one size, got \[3, 4\]"):
        krylov.axpy(torch.zeros(3), torch.zeros(4), 1.0)
    with pytest.raises(ShapeError, match="array of float, got dtype float64"):
        krylov.axpy(torch.zeros(3), torch.zeros(3, dtype=torch.float64), 1.0)
