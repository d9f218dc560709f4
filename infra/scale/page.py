"""docs/scale.md: where the limits lie, from docs/cost.json and the simulation.

python -m infra.scale.page
"""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.client_registry import WARM_SECONDS
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.runtime.aws_clients import ATTEMPTS
from infra.costs.month import LONGEST_SOFT_AGE, MEMORY_MB, Work
from infra.scale.answers import remembered_share
from infra.scale.arrivals import arrivals
from infra.scale.environments import NEW_AT_ONCE, NEW_PER_SECOND, Function, serve
from infra.scale.quota import sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ROOT: Final = Path(__file__).resolve().parents[2]
_TEXT: Final = Path(__file__).with_name("page.md")
_FOUND: Final = _ROOT / "docs" / "cost.json"
_PAGE: Final = _ROOT / "docs" / "scale.md"
_SANDBOX_SECONDS: Final = 0.15
_READS_PER_ITEM: Final = 3_000
_WARMING_UP, _MEASURED = 20.0, 10.0


def main() -> None:
    """Write the page."""
    _PAGE.write_text(write_page(json.loads(_FOUND.read_text())))


def write_page(found: Mapping[str, Any]) -> str:
    """Play every scenario and write the page."""
    return _TEXT.read_text().format(
        steady="\n".join(_steady(found)),
        storm="\n".join(_storm(found)),
        key_sets="\n".join(_key_sets(found)),
        kms="\n".join(_kms()),
        answers="\n".join(_answers()),
        new_at_once=NEW_AT_ONCE,
        new_per_second=NEW_PER_SECOND,
        soft_age=LONGEST_SOFT_AGE,
        max_age=JWKS_MAX_AGE,
        attempts=ATTEMPTS,
        decision=found["warm"]["decide_first"]["cpu_ms"],
        warm=WARM_SECONDS,
        reads=_READS_PER_ITEM,
        environments=_READS_PER_ITEM * WARM_SECONDS,
        taken=found["taken"],
        memory=MEMORY_MB,
        sandbox=_SANDBOX_SECONDS * 1000,
    )


def _steady(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _heading(
        "tokens a second", "environments, Secrets Manager", "KMS", "p99, Secrets Manager", "KMS"
    )
    for rate in (10, 100, 1_000, 3_000):
        phases = [(_WARMING_UP + _MEASURED, rate)]
        editions = [
            serve(arrivals(_random(), phases), _function(found, case))
            for case in ("issue", "issue_kms")
        ]
        yield _row(
            f"{rate:,}",
            *(f"{edition.started:,}" for edition in editions),
            *(_milliseconds(edition.latency(0.99, since=_WARMING_UP)) for edition in editions),
        )


def _storm(found: Mapping[str, Any]) -> Iterator[str]:
    calm, storm = 10.0, 5.0
    yield from _heading("tokens a second", "environments", "refused by Lambda", "p50", "p99")
    for rate in (500, 2_000, 5_000, 10_000):
        requests = arrivals(_random(), [(calm, 10), (storm, rate)])
        played = serve(requests, _function(found, "issue_kms"))
        yield _row(
            f"{rate:,}",
            f"{played.started:,}",
            f"{played.refused / (played.refused + len(played.answered)):.1%}",
            _milliseconds(played.latency(0.5, since=calm)),
            _milliseconds(played.latency(0.99, since=calm)),
        )


def _key_sets(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _heading(
        "decisions a second", "environments", "fetches in the worst second", "in ten minutes"
    )
    function = _function(found, "decide_first", fresh=LONGEST_SOFT_AGE)
    for rate in (10, 100, 1_000):
        played = serve(arrivals(_random(), [(600, rate)]), function)
        yield _row(
            f"{rate:,}",
            f"{played.started:,}",
            f"{played.busiest_second():,}",
            f"{len(played.fetches):,}",
        )


def _kms() -> Iterator[str]:
    yield from _heading("tokens a second", "503 with a quota of 500", "503 with 1,000")
    for rate in (300, 500, 600, 1_000, 2_000):
        shares = [
            sign(arrivals(_random(), [(20, rate)]), quota, _random()).refused_share
            for quota in (500, 1_000)
        ]
        yield _row(f"{rate:,}", *(f"{share:.1%}" for share in shares))


def _answers() -> Iterator[str]:
    lifetimes = (60, 300, 3_600)
    yield from _heading("calls a second", *(f"cached for {each:,} s" for each in lifetimes))
    weights = list(accumulate(1 / rank for rank in range(1, 101)))
    for rate in (1, 10, 100):
        shares = [
            remembered_share(
                arrivals(_random(), [(40_000 / rate, rate)]), weights, seconds, _random()
            )
            for seconds in lifetimes
        ]
        yield _row(f"{rate}", *(f"{share:.1%}" for share in shares))


def _function(found: Mapping[str, Any], case: str, *, fresh: float = float("inf")) -> Function:
    warm, cold = Work.read(found["warm"][case]), Work.read(found["cold"][case])
    # While a function starts, Lambda gives it a whole processor: its imports are not stretched.
    start = _SANDBOX_SECONDS + cold.cpu_ms / 1000
    return Function(warm=warm.billed_ms() / 1000, start=start, fresh=fresh)


def _random() -> Random:
    """Return the same numbers for every scenario and every run."""
    return Random(2026)  # noqa: S311 - nothing secret: a simulation


def _heading(*titles: str) -> Sequence[str]:
    return (_row(*titles), _row(*["---:"] * len(titles)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
