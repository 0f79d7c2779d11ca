"""The network that a case file asks for, on a domain."""

from importlib import import_module

import torch
from torch import nn

from hpcml.core.case import Fno, Unet
from hpcml.fields.domain import Domain


def build_network(
    spec: Fno | Unet, domain: Domain, in_channels: int, out_channels: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Make the network of a case.

    Parameters
    ----------
    spec : Fno or Unet
        The table ``[model]``.
    domain : Domain
        Where its fields live.
    in_channels, out_channels : int
        Channels of fields.
    seed : int
        Of the initial parameters, which are the same on any number of ranks.
    dtype : torch.dtype
        Of parameters.

    Communication
    -------------
    Collective over domain.world_comm: initial parameters are rank 0's.
    """
    kind = getattr(import_module(f"hpcml.models.{spec.name}"), {"fno": "FNO", "unet": "UNet"}[spec.name])
    options = spec.model_dump(exclude={"name"})
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(domain, in_channels, out_channels, **options)
    finally:
        torch.set_default_dtype(before)
