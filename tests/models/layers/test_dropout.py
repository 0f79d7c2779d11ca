"""A dropout mask belongs to the global field: the same on any number of ranks and groups, and after a restart."""

import copy

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models.layers import Dropout

RANKS = pytest.mark.parallel([1, 2, 3])


def mask_of(layer, batch=2):
    return layer(torch.ones(batch, 3, *layer.space.local_shape))


@RANKS
@pytest.mark.parametrize("groups", [1, 2])
def test_the_mask_does_not_depend_on_the_ranks(comm, groups):
    if comm.size % groups:
        groups = 1
    torch.manual_seed(comm.rank)  # rank 0's generator counts
    with decompose(Grid((9, 8)), comm, data=groups) as domain:
        layer = Dropout(domain, 0.3)
        torch.manual_seed(0)
        alone = Dropout(domain.serial(), 0.3)
        for _ in range(2):
            share = [slice(0, 3), slice(3, 5)] if groups == 2 else [slice(0, 5)]  # groups need not be even
            mine = share[domain.data_index]
            whole = alone(torch.ones(5, 3, 9, 8))
            assert torch.equal(mask_of(layer, mine.stop - mine.start), whole[mine][domain.index])
        assert int(layer.calls) == 2


@pytest.mark.parallel([1, 2])
def test_the_mask_has_the_asked_share_of_zeros_and_keeps_the_mean(comm):
    with decompose(Grid((64, 64)), comm) as domain:
        y = mask_of(Dropout(domain, 0.3))
        zeros = float((y == 0).double().mean())
        assert abs(zeros - 0.3) < 0.02  # five standard deviations of the share among 12288 independent draws
        assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7))}


@pytest.mark.parallel([1, 2, 3])
def test_layers_and_calls_draw_their_own_masks_and_a_restart_goes_on(comm):
    with decompose(Grid((16, 16)), comm) as domain:
        layer, other = Dropout(domain), Dropout(domain)
        first = mask_of(layer)
        assert not torch.equal(first, mask_of(other))
        saved = copy.deepcopy(layer.state_dict())
        second = mask_of(layer)
        assert not torch.equal(first, second)
        other.load_state_dict(saved)
        assert torch.equal(mask_of(other), second)


@RANKS
def test_gradient_is_the_mask(comm):
    with decompose(Grid((8, 7)), comm) as domain:
        layer = Dropout(domain, 0.4)
        x = torch.rand(2, 3, *domain.local_shape, dtype=torch.float64).requires_grad_()
        y = layer(x)
        y.sum().backward()
        torch.testing.assert_close(x.grad * x.detach(), y.detach(), rtol=1e-15, atol=0)  # one product rounded


@pytest.mark.parallel([1, 2])
def test_eval_zero_one_and_in_place(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        x = torch.rand(1, 1, *domain.local_shape)
        assert Dropout(domain).eval()(x) is x and Dropout(domain, 0.0)(x) is x
        assert torch.equal(Dropout(domain, 1.0)(x), torch.zeros_like(x))
        y = x.clone()
        assert Dropout(domain, 0.5, inplace=True)(y) is y and not torch.equal(x, y)
        with pytest.raises(ShapeError, match="domain.scatter"):
            Dropout(domain)(torch.zeros(1, 1, 9, 9))
