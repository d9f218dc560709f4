"""docs/cost.md is what the figures and the prices say."""

from __future__ import annotations

import json
from pathlib import Path

from infra.costs.page import write_page

DOCS = Path(__file__).parents[4] / "docs"


def test_the_page_is_in_step_with_its_figures_and_prices() -> None:
    found = json.loads((DOCS / "cost.json").read_text())
    assert (DOCS / "cost.md").read_text() == write_page(found)
