"""docs/cost.md, from docs/cost.json (what was measured) and prices.json (list prices).

python -m infra.costs.page
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.client_registry import WARM_SECONDS
from infra.costs import month as model
from infra.costs.month import Month, Stack, Work
from infra.costs.prices import price_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT: Final = Path(__file__).resolve().parents[2]
_FOUND: Final = _ROOT / "docs" / "cost.json"
_PAGE: Final = _ROOT / "docs" / "cost.md"
_TEMPLATES: Final = (_ROOT / "template.yaml", _ROOT / "infra" / "operations.yaml")
_METRICS: Final = 40
"""Taken to be in use: each combination of a metric's dimensions that occurs is one to pay for."""

_CENTS_BELOW: Final = 100
_SCALES: Final = (1_000_000, 100_000_000, 10_000_000_000)
_EDITIONS: Final = {"Secrets Manager": "issue", "KMS": "issue_kms"}
"""Where private keys are, and what issuing a token was measured as then."""

_KEYS_IN_RING: Final = 2
"""One that signs, and one before or after it."""

_WORDS: Final = {
    "issue": "issue a JWT, key in Secrets Manager",
    "issue_kms": "issue a JWT, key in KMS",
    "issue_opaque": "issue an opaque token",
    "introspect": "introspect an opaque token",
    "publish_jwks": "publish the key set",
    "decide_first": "decide on a token not seen before",
    "decide_again": "decide on a token seen before",
}


def main() -> None:
    """Write the page."""
    _PAGE.write_text(write_page(json.loads(_FOUND.read_text())))


def write_page(found: Mapping[str, Any]) -> str:
    """Write the page of what was measured."""
    bills = _Bills(found)
    parts = [
        _introduction(found, bills),
        *_issuing(bills),
        *_guarding(bills),
        *_opaque(bills),
        *_measured(found),
        *_prices(),
    ]
    return "\n".join(parts) + "\n"


class _Bills:
    """What each part of a month costs, with what was measured."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._warm = {case: Work.read(each) for case, each in found["warm"].items()}
        self._cold = {case: Work.read(each) for case, each in found["cold"].items()}

    def issue(self, month: Month, case: str) -> float:
        return model.cost(model.issuing(month, self._warm[case], self._cold[case]))

    def decide(self, month: Month) -> float:
        # Even the token seen before is priced as one that is not.
        warm, cold = self._warm["decide_first"], self._cold["decide_first"]
        return model.cost(model.deciding(month, warm, cold, self._warm["publish_jwks"]))

    def introspect(self, month: Month) -> float:
        warm, cold = self._warm["introspect"], self._cold["introspect"]
        return model.cost(model.introspecting(month, warm, cold))

    def stand(self, case: str) -> float:
        keys = _KEYS_IN_RING if case == "issue_kms" else 0
        return model.cost(model.standing(_stack(keys)))


def _stack(signing_keys_in_kms: int) -> Stack:
    """Count what the templates declare."""
    declared = Counter(
        line.strip().removeprefix("Type: ")
        for template in _TEMPLATES
        for line in template.read_text().splitlines()
    )
    return Stack(
        secrets=declared["AWS::SecretsManager::Secret"],
        kms_keys=declared["AWS::KMS::Key"] + signing_keys_in_kms,
        metrics=_METRICS,
        alarms=declared["AWS::CloudWatch::Alarm"],
        dashboards=declared["AWS::CloudWatch::Dashboard"],
    )


def _introduction(found: Mapping[str, Any], bills: _Bills) -> str:
    prices = price_list()
    month = Month(1_000_000, 1_000_000)
    ours = bills.issue(month, "issue") + bills.stand("issue")
    return f"""# What it costs

A million tokens a month cost {_dollars(ours)}, the standing parts of the stack included. Cognito's
list price for the same tokens and {month.clients} clients is {_dollars(model.cognito(month))}.

Written by `make costs`: invocations were measured on {found["taken"]} ({found["machine"]}) and
priced with list prices of {prices.region} as noted on {prices.noted_on}, free tiers left out. At
the end are the assumptions that no measurement on one machine can replace.
"""


def _issuing(bills: _Bills) -> Iterator[str]:
    months = [Month(scale, scale) for scale in _SCALES]
    yield "## Issuing tokens\n"
    yield _row("a month's tokens", *(f"{each.tokens:,}" for each in months))
    yield _rule(len(months))
    for edition, case in _EDITIONS.items():
        yield _row(
            f"Gatehouse, keys in {edition}",
            *(_dollars(bills.issue(each, case) + bills.stand(case)) for each in months),
        )
    yield _row(
        f"Cognito, {months[0].clients} clients", *(_dollars(model.cognito(each)) for each in months)
    )
    for server in model.SERVERS:
        yield _row(
            f"{server.name}, always on",
            *(_dollars(model.always_on(server, each)) for each in months),
        )
    yield f"""
Of ours, {_dollars(bills.stand("issue"))} a month are paid whether or not anyone calls: secrets, the
data key, alarms, the dashboard, custom metrics. RSA keys in KMS sign 500 to 1,000 times a second
before the quota is raised, 1.3 to 2.6 billion tokens in an even month; Cognito answers 150 token
requests a second, 390 million. Its prices beyond the first tier are not confirmed: see the list.

A server that is always on is two tasks on Fargate (ARM, at least half a processor each, more as
{model.PEAK} times the mean rate needs, {model.GB_PER_VCPU} GB to a processor), a load balancer and
a small database in two zones. Left out are its storage and traffic, and whoever keeps it patched.
"""


def _guarding(bills: _Bills) -> Iterator[str]:
    yield "## Guarding calls\n"
    yield (
        "The authorizer alone, the key sets it fetches included. API Gateway remembers its answer "
        "for a token for 300 seconds as deployed; how many calls that answers depends on the "
        "clients.\n"
    )
    yield _row("a month's guarded calls", *(f"{scale:,}" for scale in _SCALES))
    yield _rule(len(_SCALES))
    for remembered in (0.0, 0.9, 0.99):
        months = [Month(scale, scale, remembered=remembered) for scale in _SCALES]
        yield _row(
            f"{remembered:.0%} answered from API Gateway's cache",
            *(_dollars(bills.decide(each)) for each in months),
        )
    yield _row(
        "beside it: the REST API's own requests",
        *(_dollars(model.cost({"rest_api_request": scale})) for scale in _SCALES),
    )
    yield ""


def _opaque(bills: _Bills) -> Iterator[str]:
    yield "## Opaque tokens\n"
    yield (
        "As many tokens as guarded calls, 90% of these answered from API Gateway's cache. The "
        "authorizer is taken to ask about each of the rest.\n"
    )
    months = [Month(scale, scale, remembered=0.9) for scale in _SCALES]
    yield _row("a month's tokens", *(f"{each.tokens:,}" for each in months))
    yield _rule(len(months))
    yield _row("issuing", *(_dollars(bills.issue(each, "issue_opaque")) for each in months))
    yield _row("introspecting", *(_dollars(bills.introspect(each)) for each in months))
    yield ""


def _measured(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"""## What was measured, what was assumed

Processor time is of one process, AWS played by moto in another. What Lambda bills is that time,
stretched to the share of a processor that the memory brings ({model.MEMORY_MB}/{model.FULL_CORE_MB}
of one), with the waiting for AWS, rounded up to a millisecond.

| an invocation | processor, warm | billed | cold, with imports | log line | calls to AWS, warm |
| --- | ---: | ---: | ---: | ---: | --- |"""
    for case, words in _WORDS.items():
        warm, cold = Work.read(found["warm"][case]), found["cold"][case]
        calls = ", ".join(f"{count:g} {name}" for name, count in warm.calls.items()) or "none"
        yield (
            f"| {words} | {warm.cpu_ms:.2f} ms | {warm.billed_ms()} ms | {cold['cpu_ms']:.0f} ms "
            f"| {warm.log_bytes:.0f} bytes | {calls} |"
        )
    waits = ", ".join(f"{name} {wait} ms" for name, wait in model.CALL_MS.items())
    yield f"""
Assumed:
- an ARM processor of Lambda's works as fast as the one measured on;
- calls to AWS wait: {waits};
- {model.COLD_SHARE:.1%} of the invocations are cold;
- the month is even, so that the mean rate gives the number of environments, and each of them
  renews what it knows of clients and keys every {WARM_SECONDS} seconds while it works;
- the platform's own log lines are off (`SystemLogLevel: WARN`, as in the template);
- {_METRICS} custom metrics are in use, and {_KEYS_IN_RING} signing keys where they are in KMS;
- traffic out of AWS is left out on all sides.
"""


def _prices() -> Iterator[str]:
    prices = price_list()
    yield f"""## List prices

{prices.region}, noted on {prices.noted_on} from public pages that quote them; the page that decides
is named. Prices change: look before you decide.
"""
    yield "| what | dollars | source |\n| --- | --- | --- |"
    for name, price in prices.prices.items():
        steps, begin = [], 0.0
        for end, dollars in price.tiers:
            steps.append(f"{dollars:g}" + (f" from {begin:,.0f}" if begin else ""))
            begin = end
        per = f" per {price.per:,}" if price.per > 1 else ""
        yield f"| {name.replace('_', ' ')}{per} | {'; '.join(steps)} | {price.source} |"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "| --- |" + " ---: |" * columns


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < _CENTS_BELOW else f"${amount:,.0f}"


if __name__ == "__main__":
    main()
