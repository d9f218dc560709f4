"""Check that the deployment's hosts answer. Most other failures follow from this one."""

from collections.abc import Callable, Iterator

from functions.shared.web import paths
from infra.cli.aws_errors import translated
from infra.cli.doctor.context import CheckContext
from infra.cli.doctor.results import Check, Finding, failure, ok
from infra.cli.errors import UnreachableError


def reach(context: CheckContext) -> Iterator[Finding]:
    """The authorization server, the guarded API and AWS answer with any status."""
    deployment = context.deployment
    asked: dict[str, Callable[[], object]] = {
        "the authorization server": lambda: context.ask("GET", deployment.issuer + paths.JWKS),
        "AWS": lambda: context.ring,
    }
    if deployment.guarded_api:
        asked["the guarded API"] = lambda: context.ask("GET", deployment.guarded_api)
    silent = {name: error for name, ask in asked.items() if (error := _silence(ask))}
    if not silent:
        yield ok(f"{', '.join(asked)}: each answers")
        return
    for error in silent.values():
        context.is_known(error)
    (next_step, *_) = (error.next_step for error in silent.values())
    hosts = ", ".join(f"{name} at {error.host}" for name, error in silent.items())
    yield failure(f"no answer: {hosts}", next_step)


def _silence(ask: Callable[[], object]) -> UnreachableError | None:
    """Return the error if there was no response; None for any response."""
    try:
        ask()
    except Exception as error:
        known = translated(error)
        if known is None:
            raise
        return known if isinstance(known, UnreachableError) else None
    return None


CHECKS = (Check("deployment", "reach", reach),)
