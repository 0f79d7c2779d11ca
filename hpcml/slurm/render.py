"""A job script from a template of `jobs/templates` and a site."""

import re
import shlex
from collections.abc import Mapping, Sequence
from unicodedata import category

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
        For an unknown kind, and for a value of more than one line.

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
    environment.filters["option"] = _option
    _check_lines({"case": case, "run": run, "time": time, "account": account or "", "override": "".join(overrides)}, site)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        site=site,
        name=run.rstrip("/").rpartition("/")[2],
        case=case if case[:1] != "-" else f"./{case}",
        run=run,
        nodes=nodes,
        time=time,
        account=account,
        grace=grace,
        restarts=restarts,
        overrides=overrides,
        saved=PREEMPTED,
    )


def _check_lines(values: Mapping[str, str], site: Site) -> None:
    """Refuse what would end its line of the script: the next one would be taken for a line of its own."""
    of_site = {"description": site.description, "options": "".join(site.options), "environment": "".join(site.environment)}
    for name, value in {**values, **{f"the site's {name}": value for name, value in of_site.items()}}.items():
        if any(category(character) in ("Cc", "Zl", "Zp") for character in value):
            raise ConfigError(f"{name} {value!r} holds a line break or another control character: a job script takes values of one line")
    for name in site.environment:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ConfigError(f"the site's environment names {name!r}, which is no name of a variable: letters, digits and _")


def _option(value: object) -> str:
    """A value on a line of ``#SBATCH``, which Slurm, not a shell, takes apart: it knows double quotes and the backslash."""
    text = str(value)
    return text if re.fullmatch(r"[\w.,:@%+=/-]*", text, re.ASCII) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
