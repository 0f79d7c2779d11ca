"""Gray and Scott's rest state is at rest, and the pulse exists only for its coefficients."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.equations import GrayScott
from hpcml.fields import Grid, decompose


def test_without_v_nothing_happens(comm):
    domain = decompose(Grid((8, 8)), comm)
    rest = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])[None]
    assert torch.equal(GrayScott().tendency(rest, domain), torch.zeros_like(rest))


def test_well_mixed_rates_are_those_of_the_reaction(comm):
    domain, u, v = decompose(Grid((6,)), comm), 0.5, 0.25
    state = torch.tensor([u, v], dtype=torch.float64).view(1, 2, 1).expand(1, 2, 6)
    rate = GrayScott(feed=0.04, kill=0.06).tendency(state, domain)
    expected = torch.tensor([-u * v**2 + 0.04 * (1 - u), u * v**2 - 0.1 * v], dtype=torch.float64)
    assert torch.allclose(rate, expected.view(1, 2, 1).expand_as(rate), atol=1e-15)


def test_coefficients_without_a_pulse_are_named(comm):
    with pytest.raises(ConfigError, match=r"diffusivity_v / diffusivity_u = \(feed \+ kill\) / feed"):
        GrayScott().exact(decompose(Grid((8,)), comm), 0.0)
