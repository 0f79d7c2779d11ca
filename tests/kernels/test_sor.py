"""Red-black SOR against its twin, against a plain loop, and to convergence."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.sor import sor_half_sweep
from hpcml.kernels.sor_twin import sor_5_twin, sor_7_twin

WEIGHTS = {2: (-4.5, (1.1, 0.9)), 3: (-6.5, (1.1, 1.0, 0.9))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cells", [(5, 6), (6, 7), (1, 1), (18, 33), (4, 5, 6), (3, 3, 35)], ids=str)
def test_half_sweeps_are_bit_equal_to_the_twin(backend, device, cells, dtype):
    dims, generator = len(cells), torch.Generator().manual_seed(0)
    u = torch.randn((2, *(n + 2 for n in cells)), dtype=dtype, generator=generator).to(device)
    f = torch.randn((2, *cells), dtype=dtype, generator=generator).to(device)
    centre, near = WEIGHTS[dims]
    expected = u.clone()
    for colour in (0, 1, 3):
        sor_half_sweep(u, f, centre, near, 1.7, colour)
        {2: sor_5_twin, 3: sor_7_twin}[dims](expected, f, 1 / centre, *near, 1.7, colour)
    assert torch.equal(u, expected)


def test_only_cells_of_the_colour_move_and_to_the_relaxed_value(backend, device):
    u, f = torch.randn(6, 7, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    moved = u.clone().to(device)
    sor_half_sweep(moved, f.to(device), -4.0, (1.0, 1.0), 1.3, 1)
    expected = u.clone()
    for j in range(1, 5):
        for i in range(1, 6):
            if (i - 1 + j - 1) % 2 == 1:
                target = (f[j - 1, i - 1] - u[j - 1, i] - u[j + 1, i] - u[j, i - 1] - u[j, i + 1]) / -4.0
                expected[j, i] = u[j, i] + 1.3 * (target - u[j, i])
    # The loop divides where the kernel multiplies by the inverse, exact for -4, and adds four neighbors in another order.
    assert (moved.cpu() - expected).abs().max() < 1e-14


def test_sweeps_converge_to_the_solution(backend, device):
    n = 15
    x = np.arange(n + 2) / (n + 1)
    exact = torch.from_numpy(np.sin(np.pi * x)[:, None] * np.sinh(np.pi * x)).to(device)  # harmonic up to the scheme's error
    f = exact[:-2, 1:-1] + exact[2:, 1:-1] + exact[1:-1, :-2] + exact[1:-1, 2:] - 4 * exact[1:-1, 1:-1]
    u = exact.clone()
    u[1:-1, 1:-1] = 0
    for _ in range(120):
        for colour in (0, 1):
            sor_half_sweep(u, f, -4.0, (1.0, 1.0), 2 / (1 + np.sin(np.pi / (n + 1))), colour)
    # The optimal omega gains a factor 0.67 per sweep: 120 of them reach round-off of values up to 12.
    assert (u - exact).abs().max() < 1e-12


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="diagonal 0"):
        sor_half_sweep(torch.zeros(3, 3), torch.zeros(1, 1), 0.0, (1.0, 1.0), 1.0, 0)
    with pytest.raises(ShapeError, match="ghost cell"):
        sor_half_sweep(torch.zeros(3, 3), torch.zeros(3, 3), -4.0, (1.0, 1.0), 1.0, 0)
