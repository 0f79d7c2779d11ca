"""Names the packages; everything else about the distribution stands in setup.cfg, which cannot add one name to those it finds."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["hpcml", "hpcml.*"]), "hpcml._kernels"])
