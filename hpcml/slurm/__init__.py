"""Batch jobs: what a site is like, the scripts that run there, and how jobs stand. Touches neither MPI, torch nor CuPy."""

from hpcml.slurm.job import KINDS, Job, Row
from hpcml.slurm.render import render_job
from hpcml.slurm.site import Site, known_sites, load_site

__all__ = ["KINDS", "Job", "Row", "Site", "known_sites", "load_site", "render_job"]
