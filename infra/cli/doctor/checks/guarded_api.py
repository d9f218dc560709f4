"""Checks of the guarded API from outside: responses to callers without a valid token."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus

from infra.cli.doctor.context import CheckContext
from infra.cli.doctor.results import Check, Finding, either, failure, ok
from infra.cli.http_client import Answer

GUARDED = "/country"
UNKNOWN = "/gatehouse-doctor-knows-no-such-route"
METADATA = "/.well-known/oauth-protected-resource"
_JUNK = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImRvY3RvciJ9.e30.c2lnbmF0dXJl"
"""A token without an issuer: it costs the authorizer no fetch."""

_BROKEN = 500


def without_token(context: CheckContext) -> Iterator[Finding]:
    """A request without a token is refused with a challenge (RFC 6750, 3)."""
    yield from _refusal(_get(context, GUARDED), "a request without a token")


def junk_token(context: CheckContext) -> Iterator[Finding]:
    """An invalid token reaches the authorizer and is rejected with a challenge."""
    answer = _get(context, GUARDED, {"Authorization": f"Bearer {_JUNK}"})
    yield from _refusal(answer, "a forged token")


def _refusal(answer: Answer, what: str) -> Iterator[Finding]:
    if answer.status >= _BROKEN:
        yield failure(
            f"{what} is answered {answer.status}: the authorizer cannot be invoked or cannot start",
            "Read its log; is API Gateway allowed to invoke it?",
        )
        return
    if answer.status != HTTPStatus.UNAUTHORIZED:
        yield failure(
            f"{what} is answered {answer.status}, not 401", "Has the route lost its authorizer?"
        )
        return
    yield from either(_challenge_faults(answer, what), f"{what} is answered 401 with a challenge")


def _challenge_faults(answer: Answer, what: str) -> Iterator[Finding]:
    challenge = answer.headers.get("WWW-Authenticate", "")
    deploy = "Deploy again: the gateway responses of the template are not those in force."
    if "Bearer" not in challenge:
        yield failure(f"{what} gets 401 without a Bearer challenge ({challenge or 'none'})", deploy)
    if not answer.member("error"):
        yield failure(f"{what} gets 401 without a reason in the body", deploy)


def unknown_route(context: CheckContext) -> Iterator[Finding]:
    """An unknown route is 404 with JSON."""
    answer = _get(context, UNKNOWN)
    if (answer.status, answer.member("error")) == (404, "not_found"):
        yield ok("an unknown route is answered 404")
    else:
        yield failure(
            f"an unknown route is answered {answer.status} {answer.member('error')}",
            "Deploy again: the gateway responses of the template are not those in force.",
        )


def metadata(context: CheckContext) -> Iterator[Finding]:
    """The API's metadata has its issuer (RFC 9728)."""
    answer = _get(context, METADATA)
    issuer, servers = context.deployment.issuer, answer.member("authorization_servers")
    if answer.status == HTTPStatus.OK and isinstance(servers, list) and issuer in servers:
        yield ok("its metadata has the issuer")
    else:
        yield failure(
            f"its metadata ({answer.status}) name {servers}, not {issuer}",
            "Deploy again; if it stays, read the log of PublishResourceMetadata.",
        )


def _get(context: CheckContext, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return context.ask("GET", context.deployment.guarded_api + path, headers)


CHECKS = tuple(
    Check("guarded API", name, look, of_sample_api=True)
    for name, look in (
        ("without a token", without_token),
        ("with a forged token", junk_token),
        ("unknown route", unknown_route),
        ("metadata", metadata),
    )
)
