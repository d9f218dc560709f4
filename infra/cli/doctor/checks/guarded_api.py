"""The guarded API from outside: what callers without a good token get."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from infra.cli.doctor.results import Check, Finding, either, failure, ok

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.cli.doctor.context import Patient
    from infra.cli.http_client import Answer

GUARDED: Final = "/country"
UNKNOWN: Final = "/gatehouse-doctor-knows-no-such-route"
METADATA: Final = "/.well-known/oauth-protected-resource"
_JUNK: Final = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImRvY3RvciJ9.e30.c2lnbmF0dXJl"
"""A token without an issuer: it costs the authorizer no fetch."""

_BROKEN: Final = 500


def without_token(patient: Patient) -> Iterator[Finding]:
    """A request without a token is refused with a challenge (RFC 6750, 3)."""
    yield from _refusal(_get(patient, GUARDED), "a request without a token")


def junk_token(patient: Patient) -> Iterator[Finding]:
    """A token that is none gets to the authorizer, and is refused with a challenge."""
    answer = _get(patient, GUARDED, {"Authorization": f"Bearer {_JUNK}"})
    yield from _refusal(answer, "a forged token")


def _refusal(answer: Answer, what: str) -> Iterator[Finding]:
    if answer.status >= _BROKEN:
        yield failure(
            f"{what} is answered {answer.status}: the authorizer cannot be asked or cannot start",
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
        yield failure(f"{what} gets 401 without a body that says why", deploy)


def unknown_route(patient: Patient) -> Iterator[Finding]:
    """A route that is not there is 404, and says so in JSON."""
    answer = _get(patient, UNKNOWN)
    if (answer.status, answer.member("error")) == (404, "not_found"):
        yield ok("an unknown route is answered 404")
    else:
        yield failure(
            f"an unknown route is answered {answer.status} {answer.member('error')}",
            "Deploy again: the gateway responses of the template are not those in force.",
        )


def metadata(patient: Patient) -> Iterator[Finding]:
    """The API's own document names its issuer (RFC 9728)."""
    answer = _get(patient, METADATA)
    issuer, servers = patient.deployment.issuer, answer.member("authorization_servers")
    if answer.status == HTTPStatus.OK and isinstance(servers, list) and issuer in servers:
        yield ok("its metadata name the issuer")
    else:
        yield failure(
            f"its metadata ({answer.status}) name {servers}, not {issuer}",
            "Deploy again; if it stays, read the log of PublishResourceMetadata.",
        )


def _get(patient: Patient, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return patient.ask("GET", patient.deployment.guarded_api + path, headers)


CHECKS: Final = tuple(
    Check("guarded API", name, look, of_sample_api=True)
    for name, look in (
        ("without a token", without_token),
        ("with a forged token", junk_token),
        ("unknown route", unknown_route),
        ("metadata", metadata),
    )
)
