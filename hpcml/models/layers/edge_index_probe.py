"""How many hops of a graph a module reads, tried out on a small random graph and on parts of it as ranks have them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError

NODES, EDGES, MOST_HOPS = 40, 90, 2
"""Of the graph: two hops around half of its nodes leave some out."""
SAME = 1e-9
"""Relative, in float64: what a layer reads in vain changes its output by orders of magnitude more, rounding by orders less."""


def reach_of(module: nn.Module, channels: int, kinds: Sequence[tuple[torch.Size, torch.dtype]], most: Sequence[int]) -> int:
    """Least number of hops around a node that its row of a module's output depends on.

    Parameters
    ----------
    module : Module
        Called as ``module(x, edge_index, *edge values)``; copies of it are run, in float64.
    channels : int
        Of x.
    kinds : sequence of (shape, dtype)
        Of the values of an edge.
    most : sequence of int
        Largest of those that are integers.

    Returns
    -------
    int
        1 or 2; the same wherever the module is.

    Raises
    ------
    ConfigError
        With the module's name, if it reads more, draws random numbers of its own, keeps anything between calls, cannot be called so, or
        does not give a row for each node.

    Communication
    -------------
    Local.
    """
    name, generator = type(module).__name__, torch.Generator().manual_seed(0)
    x = torch.randn(NODES, channels, generator=generator, dtype=torch.float64)
    edges = _edges(generator)
    values = [_values(shape, dtype, largest, generator) for (shape, dtype), largest in zip(kinds, most, strict=True)]
    whole = _run(module, 0, x, edges, values)
    if not _alike(whole, _run(module, 1, x, edges, values)):
        raise ConfigError(
            f"{name} draws random numbers of its own, which would depend on the ranks: switch that off in it (dropout=0) and use "
            "hpcml.models.layers.Dropout(graph) beside it"
        )
    if not _forgets(module, x, edges, values):
        raise ConfigError(
            f"{name} keeps from one call what it uses in the next, which is of another part of the graph on every rank, and of other edges "
            "where points move: switch that off in it (cached=False)"
        )
    for hops in range(1, MOST_HOPS + 1):
        if all(_alike(whole[own], _of_part(module, own, hops, x, edges, values)) for own in _parts(generator)):
            return hops
    raise ConfigError(
        f"{name} reads more of a graph than {MOST_HOPS} hops around a node, or how many nodes there are (a norm or a mean over all, a "
        "polynomial of many hops, a model of several layers), so that ranks would each give something else: wrap its layers one by one in "
        "hpcml.models.layers.EdgeIndexLayer, and take norms of hpcml.models.layers"
    )


def _edges(generator: torch.Generator) -> Tensor:
    """In the order that graphs have: one twice, one from a node to itself, a node without any that end there, another with no edge."""
    pairs = torch.randint(NODES - 2, (2, EDGES), generator=generator)
    pairs = torch.cat([pairs, pairs[:, :1], torch.tensor([[3], [3]]), torch.tensor([[NODES - 2], [5]])], 1)
    return pairs[:, torch.argsort(pairs[1] * NODES + pairs[0], stable=True)]


def _values(shape: torch.Size, dtype: torch.dtype, largest: int, generator: torch.Generator) -> Tensor:
    size = EDGES + 3, *shape
    if dtype.is_floating_point:
        return torch.rand(size, generator=generator, dtype=torch.float64) + 0.5  # weights may have to be positive
    return torch.randint(largest + 1, size, generator=generator).to(dtype)


def _parts(generator: torch.Generator) -> list[Tensor]:
    """Nodes of some ranks: halves, a few, and those without edges among them."""
    order = torch.randperm(NODES, generator=generator)
    return [order[: NODES // 2].sort().values, order[NODES // 2 :].sort().values, torch.arange(NODES - 5, NODES)]


def _of_part(module: nn.Module, own: Tensor, hops: int, x: Tensor, edges: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Rows of own nodes, of what a rank has that owns them."""
    ends = own
    for _ in range(hops):
        kept = torch.isin(edges[1], ends)
        known = torch.cat([own, torch.tensor(sorted(set(edges[0, kept].tolist()) | set(ends.tolist())))])
        ends = known = torch.cat([own, known[len(own) :][~torch.isin(known[len(own) :], own)]])
    place = torch.full((NODES,), -1).scatter(0, known, torch.arange(len(known)))
    local = place[edges[:, kept]]
    order = torch.argsort(local[1], stable=True)
    return _run(module, 0, x[known], local[:, order], [value[kept][order] for value in values])[: len(own)]


def _forgets(module: nn.Module, x: Tensor, edges: Tensor, values: Sequence[Tensor]) -> bool:
    """Whether a module gives for the graph turned around what it gives when it has seen another one before, and its buffers stay."""
    used, turned = copy.deepcopy(module).double().cpu(), edges.flip(0)
    turned = turned[:, torch.argsort(turned[1] * NODES + turned[0])]  # as layers expect them
    before = [buffer.clone() for buffer in used.buffers()]
    _run(used, 0, x, edges, values, keep=True)
    same = all(torch.equal(*pair) for pair in zip(before, used.buffers(), strict=True))
    return same and _alike(_run(module, 0, x, turned, values), _run(used, 0, x, turned, values, keep=True))


def _run(module: nn.Module, seed: int, x: Tensor, edges: Tensor, values: Sequence[Tensor], keep: bool = False) -> Tensor:
    own = module if keep else copy.deepcopy(module).double().cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        try:
            y: Any = own(x, edges, *values)
        except Exception as error:  # whatever a module of anybody's raises
            words = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{type(module).__name__} cannot be called with x {tuple(x.shape)} and edges {tuple(edges.shape)}: {words}"
            ) from error
    if not isinstance(y, Tensor) or y.dim() != 2 or len(y) != len(x):
        what = f"a tensor of {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ConfigError(f"{type(module).__name__} gives {what} for {len(x)} nodes: expected a tensor with a row for each node")
    return y


def _alike(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= SAME * b.abs().max()) if a.shape == b.shape else False
