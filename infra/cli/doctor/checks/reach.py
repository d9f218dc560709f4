"""Whether what all other checks ask answers at all: the root of most other troubles, found once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from functions.shared.web import paths
from infra.cli.aws_errors import translated
from infra.cli.doctor.results import Check, Finding, failure, ok
from infra.cli.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.cli.doctor.context import Patient


def reach(patient: Patient) -> Iterator[Finding]:
    """The authorization server, the guarded API and AWS answer, whatever they say."""
    deployment = patient.deployment
    asked: dict[str, Callable[[], object]] = {
        "the authorization server": lambda: patient.ask("GET", deployment.issuer + paths.JWKS),
        "AWS": lambda: patient.ring,
    }
    if deployment.guarded_api:
        asked["the guarded API"] = lambda: patient.ask("GET", deployment.guarded_api)
    silent = {name: trouble for name, ask in asked.items() if (trouble := _silence(ask))}
    if not silent:
        yield ok(f"{', '.join(asked)}: each answers")
        return
    for trouble in silent.values():
        patient.meets(trouble)
    (next_step, *_) = (trouble.next_step for trouble in silent.values())
    hosts = ", ".join(f"{name} at {trouble.host}" for name, trouble in silent.items())
    yield failure(f"no answer: {hosts}", next_step)


def _silence(ask: Callable[[], object]) -> UnreachableError | None:
    """Return why there was no answer; None for any answer, also one that another check minds."""
    try:
        ask()
    except Exception as error:
        trouble = translated(error)
        if trouble is None:
            raise
        return trouble if isinstance(trouble, UnreachableError) else None
    return None


CHECKS: Final = (Check("deployment", "reach", reach),)
