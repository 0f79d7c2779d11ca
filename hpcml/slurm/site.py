"""What differs from one cluster to the next: a TOML file of `jobs/sites`, or one's own."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hpcml.core.config import Count, CountOrZero, Section, load_config
from hpcml.core.errors import ConfigError
from hpcml.core.resources import resource_path
from hpcml.slurm.job import check_line


class Site(Section):
    """A cluster, as far as a job script has to know it."""

    description: str
    """Name of the site and of the kind of node."""
    source: str = ""
    """Public page that the facts below are from."""
    checked: Annotated[str, Field(pattern=r"^(\d{4}-\d\d)?$")] = ""
    """Year and month in which they were compared with it."""
    scheduler: Literal["slurm", "pbs", "flux", "local"] = "slurm"
    """The batch system; "local" for none."""
    ranks_per_node: Count
    """Usually one per GPU, or one per core."""
    cpus_per_rank: Count = 1
    """Cores of each rank, as the batch system counts them."""
    threads_per_rank: Count | None = None
    """Threads of each rank, by default as many."""
    gpus_per_node: CountOrZero = 0
    """All of them visible to every rank of the node."""
    gpu: Literal["", "nvidia", "amd"] = ""
    """Their make."""
    options: tuple[str, ...] = ()
    """Further options of the batch system."""
    launch: str = "srun"
    """Command that starts one process per rank; {nodes}, {ranks} and {ranks_per_node} stand for their numbers."""
    setup: tuple[str, ...] = ()
    """Shell lines before the launch."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables to export."""

    @property
    def threads(self) -> int:
        """Threads of each rank."""
        return self.threads_per_rank or self.cpus_per_rank

    @model_validator(mode="after")
    def _lines_are_lines(self) -> Self:
        texts = {"description": (self.description,), "source": (self.source,), "options": self.options, "launch": (self.launch,)}
        for key, values in {**texts, "setup": self.setup, "environment": (*self.environment, *self.environment.values())}.items():
            for value in values:
                check_line(f"the site's {key}", value)
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                raise ValueError(f"the site's environment names {name!r}, which is no name of a variable: letters, digits and _")
        return self


def known_sites() -> dict[str, Site]:
    """Every site that hpcml ships, by name."""
    return {path.stem: load_site(path.stem) for path in sorted(resource_path("jobs", "sites").glob("*.toml"))}


def load_site(name: str) -> Site:
    """Read a site.

    Parameters
    ----------
    name : str
        One that hpcml ships, or the path of a TOML file.

    Returns
    -------
    Site
        Checked.

    Raises
    ------
    ConfigError
        If there is no such site, or its file holds an unknown or a wrong value.

    Communication
    -------------
    Local.
    """
    shipped = resource_path("jobs", "sites") / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        raise ConfigError(f"unknown site {name!r}: give one that `hpcml job sites` lists, or the path of a TOML file")
    return load_config(path, Site)
