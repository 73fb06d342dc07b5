"""How Sphinx builds these pages: `make docs`. They are Markdown, and read well on their own too.

Nothing is loaded from elsewhere, neither while they are built nor by whoever reads them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from xhmtp_wsgi._version import __version__

project = "xhmtp_wsgi"
author = "the authors of xhmtp_wsgi"
project_copyright = "the authors of xhmtp_wsgi; MIT licence"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # what stands in quotes is often to be typed

# Links to headings as GitHub makes them: [section 4](protocol.md#4-injection).
myst_heading_anchors = 4

# Blocks that name no language are zone files, crontabs and pictures.
highlight_language = "text"

html_theme = "furo"
html_title = f"xhmtp_wsgi {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}
