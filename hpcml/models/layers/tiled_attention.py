"""Attention along the edges of a graph tile by tile, so that it has the same bits on any number of ranks.

Unlike `hpcml.graphs.edge_attention` it keeps keys and values of edges for its derivatives.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hpcml.models.layers.point_attention import attend_to_points
from hpcml.models.layers.tilewise import alike, tilewise

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph
    from hpcml.models.layers.graph_attention import GraphAttention


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys, (sample, node, head, channel), turned as `hpcml.models.layers.graph_attention.turns_of` says.

    Communication
    -------------
    Local.
    """
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)


def attend_by_tiles(
    layer: "GraphAttention", points: Tensor, tokens: Tensor | None, turns: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor | None]:
    """What `GraphAttention` gives for points (sample, node, channel) of a graph with tiles, and for tokens.

    Communication
    -------------
    Neighbors, backward too; with tokens a maximum and a sum over tiles, and backward three of the size of the tokens.
    """
    space, along, channels = layer.space, layer.along, points.shape[-1]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (layer.heads, -1))

    def project(x: Tensor, *turns: Tensor) -> tuple[Tensor, ...]:
        q, k, v = layer.projected(x)
        near = [turned(part, *(t.unsqueeze(1) for t in turns)) for part in (q, k)] if turns else (q, k)
        return q.flatten(2), k.flatten(2), near[0].flatten(2), torch.cat([near[1].flatten(2), v.flatten(2)], -1)

    fields = [] if turns is None else [t.squeeze(1) for t in turns]
    q, k, near_q, known = tilewise(space, project, points, *fields, of=layer.attend, on="points", keep=True)
    # Sums and products of edges all at once: no edge's numbers meet another's, and no parameter's.
    keys, values = map(heads, along.at_begins(known).split(channels, -1))
    scores = (heads(along.at_ends(near_q)) * keys).sum(-1)
    highest = along.aggregate(scores.detach(), "max")
    if tokens is None:
        total, count = _sums(along, scores, highest, values)
        return tilewise(space, lambda x, s, n: layer.leave(_mean(heads(s), n), x), points, total, count, of=layer, on="points"), None

    t_q, t_k, t_v = alike(space, layer.projected, tokens, of=layer.attend)

    def score(a: Tensor, t: Tensor) -> Tensor:
        return torch.einsum("snhd,sthd->snht", heads(a), t).flatten(2)

    of_tokens = tilewise(space, score, q, on="points", shared=[t_k], keep=True)
    alone = (along.degrees == 0).unsqueeze(-1)
    highest = torch.maximum(highest.masked_fill(alone, -torch.inf), heads(of_tokens.detach()).amax(-1))
    total, count = _sums(along, scores, highest, values)

    def leave(x: Tensor, s: Tensor, n: Tensor, of_tokens: Tensor, highest: Tensor, t_v: Tensor) -> Tensor:
        more = torch.exp(heads(of_tokens) - highest.unsqueeze(-1))
        return layer.leave(_mean(heads(s) + torch.einsum("snht,sthd->snhd", more, t_v), n + more.sum(-1)), x)

    y = tilewise(space, leave, points, total, count, of_tokens, highest, of=layer, on="points", shared=[t_v])
    to_points = tilewise(space, lambda a, t: torch.einsum("snhd,sthd->shnt", heads(a), t), k, on="points", shared=[t_q], keep=True)
    to_tokens = torch.einsum("snhd,sthd->shnt", t_k, t_q)
    v = heads(known[..., channels:]).transpose(1, 2)
    t = attend_to_points(to_points, v, space, (to_tokens, t_v.transpose(1, 2))).transpose(1, 2)
    return y, alike(space, layer.leave, t, tokens, of=layer)


def _sums(along: "Graph", scores: Tensor, highest: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the edges of each node, of values with weights and of weights."""
    less = scores - along.at_ends(highest)
    weights = tilewise(along, torch.exp, less, on="edges")  # vector code rounds the last numbers of a tensor otherwise
    return along.aggregate((weights.unsqueeze(-1) * values).flatten(2)), along.aggregate(weights)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    return total / torch.where(count == 0, 1, count).unsqueeze(-1)
