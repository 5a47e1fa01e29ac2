"""Sphinx's settings. Build: sphinx-build -W docs docs/_build (extra: docs)."""

from importlib.metadata import version as installed

project = "credence"
author = "The credence authors"
project_copyright = "The credence authors, Apache-2.0"
release = installed("credence-lm")
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"credence {release}"
