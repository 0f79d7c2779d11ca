"""Gathered sums against dense matrices and torch's index_add, their adjoints, and their bits."""

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.segment import Edges, gather_sum


def random_edges(num_sources, num_targets, num_edges, device, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(num_sources, (num_edges,), generator=generator)
    target = torch.randint(num_targets, (num_edges,), generator=generator)
    return source.to(device), target.to(device)


def rows(count, features, dtype, device):
    return torch.randn((count, *features), dtype=dtype, generator=torch.Generator().manual_seed(count)).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("features", [(), (1,), (3,), (16,), (23,), (64,), (5, 7)], ids=str)
def test_sums_have_the_bits_of_index_add_in_edge_order(backend, device, features, dtype):
    source, target = random_edges(40, 30, 200, device)
    x = rows(40, features, dtype, device)
    ours = gather_sum(x, Edges.between(source, target, 40, 30))
    theirs = torch.zeros((30, *features), dtype=dtype).index_add_(0, target.cpu(), x.cpu()[source.cpu()])
    assert torch.equal(ours.cpu(), theirs)


def test_segments_without_edges_are_zero(backend, device):
    edges = Edges.between(*random_edges(3, 2, 0, device), 3, 2)
    assert gather_sum(rows(3, (4,), torch.float32, device), edges).tolist() == [[0.0] * 4] * 2
    one = Edges.between(torch.tensor([2], device=device), torch.tensor([3], device=device), 3, 5)
    assert gather_sum(rows(3, (4,), torch.float32, device), one).count_nonzero(dim=1).tolist() == [0, 0, 0, 4, 0]


def test_segment_sum_and_gather_are_each_other_s_adjoint(backend, device):
    target = torch.randint(7, (50,), generator=torch.Generator().manual_seed(1)).to(device)
    edges = Edges.into(target, 7)
    features, nodes = rows(50, (6,), torch.float64, device), rows(7, (6,), torch.float64, device)
    assert edges.transposed.one_each and not edges.one_each
    assert torch.equal(gather_sum(nodes, edges.transposed), nodes[target])
    forward, back = (gather_sum(features, edges) * nodes).sum(), (gather_sum(nodes, edges.transposed) * features).sum()
    # 300 products of size 1 in two orders: round-off grows as the square root of their number.
    assert abs(forward - back) <= 1e-12 * features.norm() * nodes.norm()


@pytest.mark.parametrize("make", [lambda s, t: Edges.between(s, t, 6, 5), lambda s, t: Edges.into(t, 5).transposed], ids=["sum", "gather"])
def test_first_and_second_derivatives(backend, device, make):
    edges = make(*random_edges(6, 5, 20, device))
    x = rows(edges.num_rows, (3,), torch.float64, device).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: gather_sum(v, edges), x)
    assert torch.autograd.gradgradcheck(lambda v: gather_sum(v, edges) ** 2, x)


def test_what_does_not_fit_is_named():
    source, target = torch.tensor([0, 1]), torch.tensor([0, 5])
    with pytest.raises(ShapeError, match="target must lie in 0 to 4, got 0 to 5"):
        Edges.between(source, target, 2, 5)
    with pytest.raises(ShapeError, match="target must be int64"):
        Edges.between(source, target.int(), 2, 6)
    edges = Edges.between(source, target, 2, 6)
    with pytest.raises(ShapeError, match="start from 2 rows"):
        gather_sum(torch.zeros(3, 4), edges)
    with pytest.raises(ShapeError, match="float or double"):
        gather_sum(torch.zeros(2, 4, dtype=torch.int32), edges)
