"""How the documentation is built: ``sphinx-build -W docs docs/_build``."""

import sys
from pathlib import Path

import mpi4py

mpi4py.rc.initialize = False  # reading a docstring needs no MPI, and starting it ends the process on many login nodes
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import docstring_text  # noqa: E402
import reference_pages  # noqa: E402

import hpcml  # noqa: E402

project = "hpcml"
author = "The hpcml developers"
project_copyright = "2026, the hpcml developers"
version = release = hpcml.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "formulas"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"hpcml {version}"

default_role = "py:obj"
suppress_warnings = ["ref.python"]  # `name` is a link where one thing has that name, and just a name where two have
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the docstrings, with shape and unit
napoleon_custom_sections = ["Communication"]
napoleon_use_ivar = True
napoleon_use_rtype = False


def setup(app):
    app.connect("autodoc-process-docstring", docstring_text.to_rst, priority=400)  # napoleon comes at 500
    app.connect("builder-inited", lambda app: reference_pages.write(Path(app.srcdir) / "reference" / "api"))
