"""The network that a case names, on a domain or another space."""

import torch
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice, accepts
from hpcml.core.registry import load
from hpcml.graphs.graph import Graph
from hpcml.models.layers.edge_index_layer import EdgeIndexLayer, takes_edge_index
from hpcml.models.replicas import Replicated
from hpcml.parallel.space import Space

SPACES = ("domain", "graph", "space")
"""What a network's signature may call where its fields live."""


def build_network(
    choice: Choice, domain: Space, in_channels: int, out_channels: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Make the network of a case.

    Parameters
    ----------
    choice : Choice
        The table ``[model]``: a name, and options of the class or function that it stands for. That is called with as many of ``domain``,
        ``graph``, ``space``, ``in_channels`` and ``out_channels`` as its signature has; the first three are the same.
    domain : Space
        Where its fields live.
    in_channels, out_channels : int
        Channels of fields.
    seed : int
        Of the initial parameters, which are the same on any number of ranks.
    dtype : torch.dtype
        Of parameters.

    Raises
    ------
    ConfigError
        If what is named is no module, or is one that takes no space, and fields are dealt to several ranks; a layer of PyTorch Geometric
        is then one of `hpcml.models.layers.EdgeIndexLayer` if it is to work on a graph.

    Communication
    -------------
    Collective over domain.world_comm: initial parameters are rank 0's.
    """
    kind = load("model", choice.name)
    accepted = accepts(kind)
    of_edges = takes_edge_index(kind)
    if of_edges and not isinstance(domain, Graph):
        raise ConfigError(f"model.name = {choice.name!r} is called with an edge_index, so it needs the data of a mesh")
    spaces = dict.fromkeys(SPACES if accepted else SPACES[: not of_edges], domain)  # what takes anything else is to take a domain
    given = {**spaces, "in_channels": in_channels, "out_channels": out_channels}
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = kind(**{key: value for key, value in given.items() if accepted is None or key in accepted}, **choice.options)
    finally:
        torch.set_default_dtype(before)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model.name = {choice.name!r} makes {type(network).__name__}, which is no torch.nn.Module")
    if isinstance(domain, Graph) and of_edges:
        return EdgeIndexLayer(domain, network)
    if accepted is None or not accepted.isdisjoint(SPACES):
        return network
    if domain.comm.size > 1:
        raise ConfigError(
            f"model.name = {choice.name!r} takes no domain, so it computes on whole fields, and here {domain.comm.size} ranks share each: "
            "build it from the layers of hpcml.models, with a parameter domain or space, or let every rank have whole fields by ranks.data"
        )
    return Replicated(network, domain.world_comm)
