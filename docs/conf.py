"""How Sphinx builds these pages: ``sphinx-build -W -b html docs docs/_build``."""

import logging

import gdkernels

logging.getLogger("gdkernels").setLevel(logging.WARNING)  # where the pictures ran is no news of the build

project = "gdkernels"
version = gdkernels.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

default_role = "py:obj"  # `name` in a docstring: a link where there is something to link to, code elsewhere
autodoc_member_order = "bysource"
autosummary_generate = False
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"gdkernels {version}"
html_copy_source = False
html_show_copyright = False

# Every picture begins with these lines, as the pages say.
plot_pre_code = """
import matplotlib.pyplot as plt
import numpy as np

import gdkernels as gd
from gdkernels import plots
from gdkernels.plots import examples
"""
plot_include_source = True
plot_formats = [("svg", 100)]
plot_html_show_formats = plot_html_show_source_link = False
plot_rcparams = {"figure.constrained_layout.use": True}
plot_apply_rcparams = True
