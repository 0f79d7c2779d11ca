"""The network that a case names, on a space."""

from typing import Any

import torch
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice, accepts
from hpcml.core.registry import load
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.models.layers.edge_index_layer import EdgeIndexLayer, takes_edge_index
from hpcml.models.replicas import Replicated, check_same_bits
from hpcml.parallel.space import Space


def build_network(
    choice: Choice, space: Space, in_channels: int, out_channels: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Make the network of a case.

    Parameters
    ----------
    choice : Choice
        The table ``[model]``: a name, and options of the class or function that it stands for. That is called with as many of ``space``,
        ``in_channels`` and ``out_channels`` as its signature has; a grid is also called ``domain``, a graph ``graph``.
    space : Space
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
        If what is named is no module, is one for grids and the data lie on a mesh, or the other way round, or takes no space at all, and
        fields are dealt to several ranks; a layer of PyTorch Geometric is then one of `hpcml.models.layers.EdgeIndexLayer`. On a space
        with tiles, for a network that learns outside of layers with the same bits.

    Communication
    -------------
    Collective over space.world_comm: initial parameters are rank 0's.
    """
    kind = load("model", choice.name)
    accepted = accepts(kind)
    of_edges = takes_edge_index(kind)
    given: dict[str, Any] = {"in_channels": in_channels, "out_channels": out_channels}
    if not of_edges:  # what takes anything is to take a space, under one name
        given |= {_word(space): space} | ({} if accepted is None else {"space": space})
    places = {"space", "domain", "graph"} & (set(given) if accepted is None else accepted)
    if (places and not places & set(given)) or (of_edges and not isinstance(space, Graph)):
        where = "grids, and these data lie on a mesh" if "domain" in places else "meshes, and these data lie on a grid"
        raise ConfigError(f"model.name = {choice.name!r} is a model for {where}: choose another model, or other data")
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
    if isinstance(space, Graph) and of_edges:
        return EdgeIndexLayer(space, network)
    check_same_bits(network, space)
    if places:
        return network
    if space.comm.size > 1:
        raise ConfigError(
            f"model.name = {choice.name!r} takes no domain, so it computes on whole fields, and here {space.comm.size} ranks share each: "
            "build it from the layers of hpcml.models, with a parameter domain, or let every rank have whole fields by ranks.data"
        )
    return Replicated(network, space.world_comm)


def _word(space: Space) -> str:
    """What models for this kind of space call it."""
    return "domain" if isinstance(space, Domain) else "graph" if isinstance(space, Graph) else "space"
