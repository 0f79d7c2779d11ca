"""A job script from a template of `jobs/templates`, a site and a job."""

import re
import shlex
from collections.abc import Sequence

from hpcml.core.errors import ConfigError
from hpcml.core.exit_status import LOST, PREEMPTED
from hpcml.core.resources import resource_path
from hpcml.slurm.job import Job
from hpcml.slurm.site import Site
from hpcml.slurm.time_limit import format_time


def render_job(job: Job, site: Site, activate: Sequence[str] = ()) -> str:
    """Write a batch script that survives its time limit.

    The batch system tells the script some time before the limit, and the script the ranks; they save and leave with the status that says
    so, and the script puts itself into the queue again.

    Parameters
    ----------
    job : Job
        What is to run.
    site : Site
        Where it runs.
    activate : sequence of str
        Lines of bash that make ``hpcml`` a command, see `hpcml.slurm.activation`.

    Returns
    -------
    str
        Plain bash.

    Raises
    ------
    ConfigError
        If nodes are to stand by, and the site's batch system is not Slurm.

    Communication
    -------------
    Local; runs on a login node.

    Examples
    --------
    >>> from hpcml.slurm import Job, load_site
    >>> script = render_job(Job("train", "case.toml", run="runs/case", nodes=4), load_site("generic"))
    >>> [line for line in script.splitlines() if "--nodes" in line]
    ['#SBATCH --nodes=4']
    """
    import jinja2

    if job.spare_nodes is not None and site.scheduler != "slurm":
        raise ConfigError(f"--spare-nodes needs Slurm, which alone keeps a job whose nodes die; {site.description} has {site.scheduler}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_path("jobs", "templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "quote": shlex.quote,
        "option": _option,
        "label": lambda text: re.sub(r"[^\w.+-]", "_", text, flags=re.ASCII),
        "path": lambda path: path if path[:1] != "-" else f"./{path}",
        "settings": lambda values: "".join(f" --set {shlex.quote(value)}" for value in values),
        "time": format_time,
        "walltime": lambda seconds: format_time(seconds, days=False),
    }
    template = environment.get_template(f"{job.kind}.sh.j2")
    text = template.render(job=job, site=site, activate=activate, launch=_launch(job, site), saved=PREEMPTED, lost=LOST)
    return re.sub(r"\n{3,}", "\n\n", text)


def _launch(job: Job, site: Site) -> str:
    """What starts the ranks; in a job that outlives its nodes, on those that the script has taken."""
    launch, nodes, ranks = site.launch, str(job.nodes), str(job.nodes * site.ranks_per_node)
    if job.spare_nodes is not None:
        nodes, ranks = '"$SLURM_NNODES"', '"$SLURM_NTASKS"'
        launch = re.sub(r"^srun\b", 'srun --overlap --nodelist="$taken"', launch)
    for key, value in {"nodes": nodes, "ranks": ranks, "ranks_per_node": str(site.ranks_per_node)}.items():
        launch = launch.replace(f"{{{key}}}", value)
    return launch


def _option(value: object) -> str:
    """A value on a line of ``#SBATCH``, which Slurm, not a shell, takes apart: it knows double quotes and the backslash."""
    text = str(value)
    return text if re.fullmatch(r"[\w.,:@%+=/-]*", text, re.ASCII) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
