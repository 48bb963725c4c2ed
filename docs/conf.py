"""Sphinx configuration of the documentation site: `make docs` builds it and treats every warning as an error."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "fleetloop"
author = "The fleetloop authors"
project_copyright = "The fleetloop authors, Apache License 2.0"
version = release = _PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fleetloop {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
# Headings down to this level get an anchor, so that links to a section are checked.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
