"""Scripts as they are to come out, in `golden/`; after a change that is meant: python tests/slurm/golden.py."""

from difflib import unified_diff
from pathlib import Path

from hpcml.slurm import KINDS, Job, Row, known_sites, load_site, render_job

FOLDER = Path(__file__).parent / "golden"
ROWS = (Row("a", ("training.learning_rate=0.001", "model.modes=4")), Row("b", ("training.learning_rate=0.01",)))


def job(kind, **changes):
    """A job of every kind that asks for whatever it can."""
    what = {"bench": {"case": "halo"}, "rollout": {"run": "runs/case"}, "evaluate": {"run": "runs/case"}}
    what |= {"generate": {"case": "case.toml", "out": "datasets/case"}}
    words = what.get(kind, {"case": "case.toml", "run": "runs/case"})
    more = {"array": {"rows": ROWS}, "container": {"image": "hpcml.sif"}}.get(kind, {})
    overrides = () if kind in ("bench", "rollout", "evaluate") else ("training.epochs=3",)
    return Job(kind, **(words | more | {"nodes": 4, "time": "1-12", "account": "m1234", "overrides": overrides} | changes))


def scripts():
    """A training job on one site, whole; every other kind there and the same kind on every other site by what differs from it."""
    whole = _script("train", "generic")
    yield "generic-train.sh", whole
    others = [*((kind, "generic") for kind in KINDS if kind != "train"), *(("train", site) for site in known_sites() if site != "generic")]
    for kind, site in others:
        lines = (text.splitlines(keepends=True) for text in (whole, _script(kind, site)))
        yield f"{site}-{kind}.diff", "".join(unified_diff(*lines, "generic-train.sh", f"{site}-{kind}.sh", n=0))


def _script(kind, site):
    return render_job(job(kind), load_site(site), ("source /opt/hpcml/bin/activate",))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, text in scripts():
        (FOLDER / name).write_text(text)
