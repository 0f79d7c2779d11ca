"""What differs from one cluster to the next: a TOML file of `jobs/sites`, or one's own."""

from pathlib import Path

from pydantic import Field

from hpcml.core.config import Count, Section, load_config
from hpcml.core.errors import ConfigError
from hpcml.core.resources import resource_path


class Site(Section):
    """A cluster, as far as a job script has to know it."""

    description: str
    """Name of the site and of the kind of node."""
    ranks_per_node: Count
    """Usually one per GPU, or one per core."""
    cpus_per_rank: Count = 1
    """Cores, and threads, of each rank."""
    options: tuple[str, ...] = ()
    """Further options of sbatch."""
    launch: str = "srun"
    """Command that starts one process per rank."""
    setup: tuple[str, ...] = ()
    """Shell lines before the launch."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables to export."""


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
