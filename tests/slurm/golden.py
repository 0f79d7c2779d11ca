"""Scripts as they are to come out, in `golden/`; after a change that is meant: python tests/slurm/golden.py."""

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
    """Every kind on one site, and one kind on every other."""
    for kind in KINDS:
        yield f"generic-{kind}.sh", render_job(job(kind), load_site("generic"), ("source /opt/hpcml/bin/activate",))
    for site in known_sites():
        yield f"{site}-train.sh", render_job(job("train"), load_site(site), ("source /opt/hpcml/bin/activate",))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.sh"):
        old.unlink()
    for name, text in scripts():
        (FOLDER / name).write_text(text)
