"""Products along edges are what indexing gives, and so are their derivatives of any order; nothing as large as the edges is kept."""

import pytest
import torch
from mpi4py import MPI

from hpcml.graphs import edge_products, weighted_sum
from tests.models.twins import EXACT, NODES, deal, error, mesh

SHAPES = pytest.mark.parametrize("samples", [(), (2,)], ids=["one", "samples"])


def arguments(samples, dtype=torch.float64):
    graph = deal(MPI.COMM_SELF, *mesh())
    generator = torch.Generator().manual_seed(0)
    sizes = (NODES, 3, 4), (NODES, 3, 4), (graph.edge_index.shape[1], 3)
    return graph, *(torch.randn(*samples, *size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for size in sizes)


@SHAPES
def test_they_are_what_indexing_gives(samples):
    graph, a, b, w = arguments(samples)
    begin, end = graph.edge_index
    product = (a[..., end, :, :] * b[..., begin, :, :]).sum(-1)
    total = torch.zeros_like(a).index_add(-3, end, w.unsqueeze(-1) * b[..., begin, :, :])
    assert error(edge_products(graph, a, b), product) <= EXACT and error(weighted_sum(graph, w, b), total) <= EXACT


@SHAPES
@pytest.mark.parametrize("operation", ["products", "sums"])
def test_first_and_second_derivatives_are_those_of_indexing(samples, operation):
    graph, a, b, w = arguments(samples)
    begin, end = graph.edge_index
    if operation == "products":
        own = edge_products(graph, a, b)
        plain = (a[..., end, :, :] * b[..., begin, :, :]).sum(-1)
    else:
        own = weighted_sum(graph, w, b)
        plain = torch.zeros_like(a).index_add(-3, end, w.unsqueeze(-1) * b[..., begin, :, :])
    inputs = (a, b) if operation == "products" else (w, b)
    found, expected = (torch.autograd.grad(y.sin().sum(), inputs, create_graph=True) for y in (own, plain))
    again, expected_again = (torch.autograd.grad(sum(g.pow(3).sum() for g in first), inputs) for first in (found, expected))
    for mine, its in zip([*found, *again], [*expected, *expected_again], strict=True):
        assert error(mine, its) <= EXACT


def test_16_bits_are_multiplied_and_summed_in_32():
    graph, a, b, w = arguments((), torch.bfloat16)
    for operation, first in ((edge_products, a), (weighted_sum, w)):
        found = operation(graph, first, b)
        (gradient,) = torch.autograd.grad(found.sum(), b)
        assert found.dtype == torch.float32 and gradient.dtype == torch.bfloat16
        assert error(found.double(), operation(graph, first.double(), b.double())) <= 1e-6  # float32's rounding, a dozen times


def test_only_values_of_nodes_and_a_number_for_each_edge_and_head_are_kept():
    graph, a, b, w = arguments(())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        edge_products(graph, a, b), weighted_sum(graph, w, b)
    assert max(kept) == max(a.numel(), w.numel())
