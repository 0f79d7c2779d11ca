"""A job script from a template of `jobs/templates` and a site."""

import shlex
from collections.abc import Sequence

from hpcml.core.errors import ConfigError
from hpcml.core.exit_status import PREEMPTED
from hpcml.core.resources import resource_path
from hpcml.slurm.site import Site


def render_job(
    kind: str,
    site: Site,
    case: str,
    run: str,
    nodes: int = 1,
    time: str = "01:00:00",
    account: str | None = None,
    grace: int = 180,
    restarts: int = 10,
    overrides: Sequence[str] = (),
) -> str:
    """Write a batch script that survives its time limit.

    The script asks Slurm for USR1 some time before the limit; the ranks then save and leave with the status that says so, and the
    script puts itself into the queue again.

    Parameters
    ----------
    kind : str
        Template: ``train``.
    site : Site
        Where it runs.
    case, run : str
        Case file and run directory, as seen from where the job starts.
    nodes : int
        Nodes to ask for.
    time : str
        Limit, as sbatch takes it.
    account : str, optional
        Who pays.
    grace : int
        Seconds between USR1 and the limit: several times what a step and a checkpoint take.
    restarts : int
        How often the job may put itself into the queue again.
    overrides : sequence of str
        Values of the case to change, ``key=value``.

    Returns
    -------
    str
        Plain bash.

    Raises
    ------
    ConfigError
        For an unknown kind.

    Communication
    -------------
    Local; runs on a login node.

    Examples
    --------
    >>> from hpcml.slurm import load_site
    >>> script = render_job("train", load_site("generic"), case="case.toml", run="runs/case", nodes=4)
    >>> [line for line in script.splitlines() if "nodes" in line]
    ['#SBATCH --nodes=4']
    """
    import jinja2

    template = resource_path("jobs", "templates") / f"{kind}.sh.j2"
    if not template.is_file():
        raise ConfigError(f"unknown kind of job {kind!r}: expected train")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["quote"] = shlex.quote
    return environment.from_string(template.read_text()).render(
        site=site,
        name=run.rstrip("/").rpartition("/")[2],
        case=case,
        run=run,
        nodes=nodes,
        time=time,
        account=account,
        grace=grace,
        restarts=restarts,
        overrides=overrides,
        saved=PREEMPTED,
    )
