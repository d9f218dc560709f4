"""List prices fall in tiers."""

from __future__ import annotations

import pytest

from infra.costs.prices import Price, price_list

TIERED = Price(per=1_000, tiers=((100.0, 10.0), (300.0, 5.0), (float("inf"), 1.0)), source="here")


@pytest.mark.parametrize(
    ("quantity", "dollars"),
    [(0, 0.0), (50, 0.5), (100, 1.0), (200, 1.5), (300, 2.0), (1_300, 3.0)],
)
def test_each_part_of_a_quantity_has_its_tiers_price(quantity: int, dollars: float) -> None:
    assert TIERED.of(quantity) == pytest.approx(dollars)


@pytest.mark.parametrize("name", sorted(price_list().prices))
def test_a_listed_price_has_rising_tiers_without_end_and_a_source(name: str) -> None:
    price = price_list().prices[name]
    ends = [end for end, _ in price.tiers]
    assert ends == sorted(ends)
    assert ends[-1] == float("inf")
    assert price.source
    assert price.of(1) > 0
