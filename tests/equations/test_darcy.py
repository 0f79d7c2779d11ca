"""Darcy's operator is symmetric, positive, and has the diagonal it says."""

import pytest
import torch

from hpcml.equations import Darcy
from hpcml.equations.darcy import diagonal, face_weights, minus_divergence
from hpcml.fields import Grid, decompose
from hpcml.parallel import adjoint_error


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(9,), (7, 8), (5, 4, 6)], ids=str)
def test_the_operator_is_its_own_adjoint(comm, rng, shape):
    with decompose(Grid(shape, periodic=False), comm) as domain:
        weights = face_weights(Darcy().initial_state(domain, range(2))[:, :1], domain)
        x, y = (torch.from_numpy(rng.standard_normal((2, 1, *shape)))[domain.index] for _ in range(2))

        def operator(p):
            return [minus_divergence(weights, p, domain)]

        assert adjoint_error(operator, operator, [x], [y], comm) < 1e-12  # the bar of every dot-product test


def test_the_diagonal_is_the_operators(comm):
    domain = decompose(Grid((4, 3), (1.0, 2.0), False), comm)
    weights = face_weights(Darcy().initial_state(domain, range(1))[:, :1], domain)
    units = torch.eye(12, dtype=torch.float64).view(12, 1, 4, 3)
    matrix = minus_divergence([w.expand(12, *w.shape[1:]) for w in weights], units, domain).view(12, 12)
    assert torch.allclose(matrix.diagonal().view(1, 1, 4, 3), diagonal(weights))
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_a_jump_on_a_face_is_met_exactly(comm):
    """Flow through two layers in series: what passes is the harmonic mean, whatever the grid."""
    domain = decompose(Grid((6, 2), periodic=False), comm)
    layers = torch.where(torch.arange(6) < 3, 12.0, 3.0).double().view(1, 1, 6, 1).expand(1, 1, 6, 2)
    flux = face_weights(layers, domain)[0] * (1 / 6) ** 2
    assert torch.allclose(flux[0, 0, :, 0], torch.tensor([24.0, 12, 12, 2 * 12 * 3 / 15, 3, 3, 6], dtype=torch.float64))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", [(7, 8), (5, 4, 6)], ids=str)
def test_without_a_gradient_a_kernel_gives_the_same_bits(comm, rng, shape):
    with decompose(Grid(shape, periodic=False), comm) as domain:
        weights = face_weights(Darcy().initial_state(domain, range(1))[:, :1], domain)
        pressure = torch.from_numpy(rng.standard_normal((2, 1, *shape)))[domain.index]
        plain = minus_divergence(weights, pressure, domain)
        with torch.no_grad():
            assert torch.equal(minus_divergence(weights, pressure, domain), plain)
