"""Sphinx configuration of the documentation site: `make docs`."""

from __future__ import annotations

project = "Gatehouse"
author = "the Gatehouse authors"
# Sphinx requires this name: it shadows the built-in `copyright`.
copyright = "2026, the Gatehouse authors"

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples/**"]
nitpicky = True
# Blocks of JSON with omitted parts (…) are highlighted as far as possible.
suppress_warnings = ["misc.highlighting_failure"]

# Anchors for headings, as GitHub makes them, so that links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Exclude the prompt when copying.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
# furo scrolls wide tables and code blocks. site.css wraps them, so that they are read without scrolling.
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_title = "Gatehouse"
html_copy_source = False
html_show_sphinx = False
