"""docs/scale.md is what the simulation finds."""

from __future__ import annotations

import json
from pathlib import Path

from infra.scale.page import write_page

DOCS = Path(__file__).parents[4] / "docs"


def test_the_page_is_in_step_with_the_simulation() -> None:
    found = json.loads((DOCS / "cost.json").read_text())
    assert (DOCS / "scale.md").read_text() == write_page(found)
