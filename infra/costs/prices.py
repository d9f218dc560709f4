"""List prices, in tiers, each with the page it is from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for `per` units, falling with the month's quantity.

    A tier is (the quantity up to which it holds, dollars); the last one has no end.
    """

    per: int
    tiers: tuple[tuple[float, float], ...]
    source: str

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Read it as prices.json has it, where null stands for no end."""
        tiers = [
            (float("inf") if end is None else end, dollars) for end, dollars in stored["tiers"]
        ]
        return cls(stored["per"], tuple(tiers), stored["source"])

    def of(self, quantity: float) -> float:
        """Return the dollars that a month's quantity costs."""
        total, begin = 0.0, 0.0
        for end, dollars in self.tiers:
            total += max(0.0, min(quantity, end) - begin) * dollars / self.per
            begin = end
        return total


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices of one region, and the day on which they were noted."""

    region: str
    noted_on: str
    prices: Mapping[str, Price]


@cache
def price_list() -> PriceList:
    """Return the prices of prices.json."""
    stored = json.loads(_FILE.read_text())
    prices = {name: Price.read(each) for name, each in stored["prices"].items()}
    return PriceList(stored["region"], stored["noted_on"], prices)
