"""The simulations that a case names, each made of its number and its parameters."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.core.options import accepts
from hpcml.core.registry import load
from hpcml.fields.domain import Domain
from hpcml.online.states import states_of

Make = Callable[[int, tuple[float, ...]], Iterator[Tensor]]
"""From number and parameters to states, (channel, *local_shape) each."""


def own_simulations(spec: Online, domain: Domain, dtype: torch.dtype) -> Make:
    """Simulations of the user's own, or such as hpcml has by name.

    Parameters
    ----------
    spec : Online
        Its ``simulation`` names a class or function, which is called with as many of ``domain``, ``comm``, ``number``, ``seed``,
        ``interval``, ``fields`` and ``parameters``, a dict, as its signature has, and with its options.
    domain : Domain
        On the ranks that share a simulation.
    dtype : torch.dtype
        Of the states.

    Raises
    ------
    ConfigError
        Where it takes neither domain nor comm, so that each rank would have whole fields, and several ranks share a simulation.

    Communication
    -------------
    Local; that of the simulation is its own.
    """
    assert spec.simulation is not None
    made, options = load("simulation", spec.simulation.name), spec.simulation.options
    accepted = accepts(made)
    if domain.comm.size > 1 and accepted is not None and not accepted & {"domain", "comm"}:
        raise ConfigError(
            f"data.simulation = {spec.simulation.name!r} takes no domain and no comm, so it makes whole fields, and ranks.per_simulation = "
            f"{domain.comm.size} ranks share each: set it to 1, or give the simulation a parameter domain"
        )

    def make(number: int, parameters: tuple[float, ...]) -> Iterator[Tensor]:
        named = dict(zip(spec.parameters, parameters, strict=True))
        here = {"domain": domain, "comm": domain.comm, "interval": spec.interval, "fields": spec.fields}
        given = here | {"number": number, "seed": spec.seed, "parameters": named}
        chosen = {key: value for key, value in given.items() if accepted is None or key in accepted}
        return states_of(made(**chosen, **options), len(spec.fields), domain.local_shape, spec.steps, dtype)

    return make
