"""How Sphinx makes a site of these pages: `make docs`."""

from __future__ import annotations

project = "Gatehouse"
author = "the Gatehouse authors"
# Sphinx's own name, and the field's.
copyright = "2026, the Gatehouse authors"

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples/**"]
nitpicky = True
# JSON in which a part is left out (…) is shown as far as it can be coloured.
suppress_warnings = ["misc.highlighting_failure"]

# Anchors for headings, as GitHub makes them, so that links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# The prompt does not belong to the command.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
# Tables and code blocks wrap: furo would let them scroll out of sight.
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_title = "Gatehouse"
html_copy_source = False
html_show_sphinx = False
