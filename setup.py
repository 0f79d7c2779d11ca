"""Names the packages; everything else about the distribution stands in setup.cfg, which cannot add names to those it finds."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["hpcml", "hpcml.*"]), "hpcml._kernels", "hpcml._jobs"])
