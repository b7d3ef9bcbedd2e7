"""The documentation site: `make docs` builds it into `build/docs`, with warnings as errors.

The source folder is the whole repository, so that a relative link leads to the same place in a
checkout, on a Git host and on the site.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from recmtl_docs import api_pages, docstrings  # noqa: E402

project, author = "recmtl", "the recmtl authors"
project_copyright = "the recmtl authors, Apache-2.0"
release = version = version_of("recmtl")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_click",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "examples/**",
    "datasets/*/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/README.md", "docs/_*", "**/.ipynb_checkpoints"]
exclude_patterns += [".venv", "build", "recmtl", "runs", "tests", "mlartifacts", "mlruns"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}

# Notebooks show what they printed when they were last run by `make notebooks`; tests run them.
nb_execution_mode = "off"
# as on a Git host, and as tests/unit/test_docs.py checks links
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110
add_module_names = False
napoleon_use_ivar = True
default_role = "code"
# `rows` or `type` in a docstring may name an attribute of several classes: no link, then
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"recmtl {release}"
html_static_path = ["_static"]
html_css_files = ["recmtl.css"]
html_extra_path = ["_extra"]  # index.html, which leads to the front page
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):  # type: ignore[no-untyped-def]
    """Write the pages of the API before they are read, and read docstrings as they are written."""
    app.connect("config-inited", lambda *_: api_pages.write(ROOT))
    app.connect("autodoc-process-docstring", docstrings.to_rst, priority=400)
