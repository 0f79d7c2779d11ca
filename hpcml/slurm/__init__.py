"""Batch jobs: what a site is like, and the scripts that run there. Touches neither MPI, torch nor CuPy."""

from hpcml.slurm.render import render_job
from hpcml.slurm.site import Site, known_sites, load_site

__all__ = ["Site", "known_sites", "load_site", "render_job"]
