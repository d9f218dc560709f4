"""docs/cost-and-limits.md: every figure of its first section follows from the page's own prices and invocations."""

import re
from collections.abc import Mapping
from math import ceil

import pytest

from infra.build import ROOT
from infra.cloudformation import load
from infra.template_checks import TEMPLATE

PAGE = (ROOT / "docs" / "cost-and-limits.md").read_text(encoding="utf-8")
MONTH = 2_592_000
COLD = 0.005
MILLISECONDS = {"read": 5, "write": 5, "secret": 20, "signature": 10}
"""The time of a call to AWS, as the page assumes it."""


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table with these first cells of its heading, by their first cell."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n", maxsplit=1)[0].splitlines()
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    return {first: others for first, *others in rows}


def number(text: str) -> float:
    match = re.search(r"[\d,]*\.?\d+", text)
    assert match, text
    return float(match[0].replace(",", ""))


PRICES = {name: number(cells[0]) for name, cells in table("price | dollars | source").items()}
CALLS = {
    "read": PRICES["DynamoDB, a million reads"] / 1e6,
    "write": PRICES["DynamoDB, a million writes"] / 1e6,
    # A secret is encrypted with a customer key.
    "secret": (PRICES["Secrets Manager, 10,000 calls"] + PRICES["KMS, 10,000 requests and RSA 2048 signatures"]) / 1e4,
    "signature": PRICES["KMS, 10,000 requests and RSA 2048 signatures"] / 1e4,
}
INVOCATIONS = table("invocation | warm | cold | billed, warm | log line | calls to AWS, each time | and when cold")


def calls(text: str) -> dict[str, int]:
    return {kind: int(count) for count, kind in re.findall(r"(\d+) (read|write|secret|signature)", text)}


def billed(name: str, *, cold: bool) -> int:
    """Return the milliseconds that Lambda bills for an invocation."""
    warm_ms, cold_ms, _, _, always, when_cold = INVOCATIONS[name]
    waiting = sum(MILLISECONDS[kind] * count for kind, count in calls(when_cold if cold else always).items())
    return max(1, ceil(number(cold_ms if cold else warm_ms) * 1769 / 512 + waiting))


def priced_calls(text: str) -> float:
    return sum(CALLS[kind] * count for kind, count in calls(text).items())


def million(name: str, *, at_api: bool = True) -> list[float]:
    """Return requests and processor time, log line, access log and calls of a million invocations."""
    *_, log, always, when_cold = INVOCATIONS[name]
    seconds = ((1 - COLD) * billed(name, cold=False) + COLD * billed(name, cold=True)) * 1e6 / 1000
    work = PRICES["Lambda, a million requests"] + seconds / 2 * PRICES["Lambda, a GB-second of arm64"]
    gigabyte = PRICES["CloudWatch Logs, a GB"]
    return [
        work + (PRICES["HTTP API, a million requests"] if at_api else 0),
        (number(log) + 26) * gigabyte / 1000,
        (350 + 26) * gigabyte / 1000 if at_api else 0,
        1e6 * ((1 - COLD) * priced_calls(always) + COLD * priced_calls(when_cold)),
    ]


def environment() -> float:
    reads = MONTH / 30
    return reads * (CALLS["secret"] + 20 * CALLS["read"]) + MONTH / 300 * CALLS["signature"]


def dollars(value: float) -> str:
    return f"${value:,.2f}"


JWT, KMS = "JWT, key in Secrets Manager", "JWT, key in KMS"


@pytest.mark.parametrize("name", [JWT, KMS, "opaque token", "introspection", "decision"])
def test_price_of_a_million(name: str) -> None:
    parts = million(name, at_api=name != "decision")
    if name == "decision":
        # Fetches of the key set: one for each cold start, and one each five minutes.
        fetches = 1e6 * COLD + MONTH / 300
        parts[0] += fetches / 1e6 * (PRICES["HTTP API, a million requests"] + PRICES["Lambda, a million requests"])
    shown = table("item | requests and processor time | log line | access log | calls to AWS | sum")[name]
    assert shown == [*(dollars(part) if part else "" for part in parts), dollars(sum(parts))]


@pytest.mark.parametrize("name", INVOCATIONS)
def test_billed_time_of_an_invocation(name: str) -> None:
    assert INVOCATIONS[name][2] == f"{billed(name, cold=False)} ms"


def test_price_of_an_environment() -> None:
    assert f"environments \N{MULTIPLICATION SIGN} {dollars(environment())}" in PAGE
    assert f"An environment in use costs {dollars(environment())} a month." in PAGE


def test_fixed_cost_is_the_sum_of_its_items() -> None:
    items = table("item | quantity | a month")
    prices = [cells[1] for cells in items.values()]
    with_api, without = map(number, prices[0].split(";"))
    shared = sum(map(number, prices[1:5]))
    assert (
        f"The sum is {dollars(with_api + shared)} with the sample API and {dollars(without + shared)} without" in PAGE
    )


def test_comparison_follows_from_the_formula() -> None:
    fixed = number(PAGE.split("with the sample API and ")[1])
    signing_keys = number(table("item | quantity | a month")["signing keys in KMS (`KeyEdition=kms`), at $1"][1])
    shown = table("a month's tokens | 1,000,000 | 100,000,000 | 10,000,000,000")
    for row, name, keys in (
        ("Gatehouse, keys in Secrets Manager", JWT, 0.0),
        ("Gatehouse, keys in KMS", KMS, signing_keys),
    ):
        found = [fixed + keys + tokens_cost(name, tokens) for tokens in (10**6, 10**8, 10**10)]
        assert shown[row] == [f"${value:,.0f}" for value in found]


def tokens_cost(name: str, tokens: int) -> float:
    environments = max(1.0, tokens / MONTH * billed(name, cold=False) / 1000)
    beyond = max(0, tokens - 300_000_000)
    discount = PRICES["HTTP API, a million requests"] - PRICES["HTTP API, a million above 300 million"]
    return environments * environment() + tokens / 1e6 * sum(million(name)) - beyond / 1e6 * discount


def tiered(quantity: float, *tiers: tuple[float, float]) -> float:
    """Return the price of a quantity: each tier has its end and its price."""
    total, start = 0.0, 0.0
    for end, price in tiers:
        total += max(0.0, min(quantity, end) - start) * price
        start = end
    return total


def test_comparison_with_cognito_and_servers() -> None:
    shown = table("a month's tokens | 1,000,000 | 100,000,000 | 10,000,000,000")
    amounts = (10**6, 10**8, 10**10)
    token_tiers = (
        (1e5, PRICES["Cognito, 1,000 tokens"] / 1000),
        (1e6, PRICES["Cognito, 1,000 tokens above 100,000"] / 1000),
        (1e7, PRICES["Cognito, 1,000 tokens above a million"] / 1000),
        (float("inf"), PRICES["Cognito, 1,000 tokens above 10 million"] / 1000),
    )
    clients = 20 * PRICES["Cognito, a client a month"]
    assert shown["Cognito, 20 clients"] == [f"${clients + tiered(each, *token_tiers):,.0f}" for each in amounts]
    hours = MONTH / 3600
    for row, rate in (("Keycloak, always on", 120), ("Hydra, always on", 256)):
        found = []
        for each in amounts:
            processors = max(1, ceil(each / MONTH * 3 / rate))
            hourly = processors * (PRICES["Fargate, a processor an hour"] + 2 * PRICES["Fargate, a GB an hour"])
            balanced = PRICES["load balancer, an hour"] + PRICES["small PostgreSQL in two zones, an hour"]
            found.append(f"${hours * (hourly + balanced):,.0f}")
        assert shown[row] == found


def test_regions_with_lower_quotas() -> None:
    named = PAGE.split("The 13 regions: ")[1].split(". ")[0]
    assert len(re.split(r", | and ", named)) == 13


def test_stage_limits_against_the_lower_quotas(parameters: Mapping[str, int]) -> None:
    rates = sum(value for name, value in parameters.items() if name.endswith("RateLimit"))
    bursts = sum(value for name, value in parameters.items() if name.endswith("BurstLimit"))
    assert rates <= 2500
    assert bursts == 2000
    assert "Both stages together may need a burst of 2,000, more than 1,250" in PAGE


@pytest.fixture
def parameters() -> dict[str, int]:
    declared = load(TEMPLATE)["Parameters"]
    return {name: int(each["Default"]) for name, each in declared.items() if name.endswith(("RateLimit", "BurstLimit"))}
