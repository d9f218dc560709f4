"""The authorization server from outside: its documents, and whether it does as they say."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from authorizer.claims import LEEWAY
from functions.rotate_keys.rotation_rules import CLOCK_SKEW, SETTLING
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.web import paths
from infra.cli.doctor.context import FORM
from infra.cli.doctor.results import Check, Finding, either, failure, named, ok, warning
from infra.cli.times import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.cli.doctor.context import Patient
    from infra.cli.http_client import Answer

DOCUMENTS: Final = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_ENDPOINTS: Final = {
    "token_endpoint": paths.TOKEN,
    "jwks_uri": paths.JWKS,
    "introspection_endpoint": paths.INTROSPECTION,
    "revocation_endpoint": paths.REVOCATION,
}
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d+)")
_DRIFT: Final = 5
_DEPLOY: Final = "Deploy again; if it stays, read the function's log."


def metadata(patient: Patient) -> Iterator[Finding]:
    """The documents are there, are the same, and name this issuer and its endpoints."""
    issuer = patient.deployment.issuer
    answers = {url: patient.ask("GET", url) for url in _document_urls(patient)}
    for url, answer in answers.items():
        yield from either(_document_faults(answer, url, issuer), f"{url} says what it should")
    if len({answer.body for answer in answers.values()}) > 1:
        yield failure("the documents differ", _DEPLOY)


def _document_urls(patient: Patient) -> Iterator[str]:
    """Yield where the documents have to be. RFC 8414, 3, and OpenID Connect Discovery 1.0, 4."""
    deployment = patient.deployment
    yield from (deployment.issuer + path for path in DOCUMENTS)
    # An execute-api address has no root that would be ours.
    if deployment.is_local or deployment.parameters.get("DomainName"):
        parts = urlsplit(deployment.issuer)
        yield urlunsplit((parts.scheme, parts.netloc, DOCUMENTS[0] + parts.path, "", ""))


def _document_faults(answer: Answer, url: str, issuer: str) -> Iterator[Finding]:
    if answer.status != HTTPStatus.OK or not isinstance(answer.json, dict):
        yield failure(f"{url} answers {answer.status}", _DEPLOY)
        return
    said = answer.member("issuer")
    if said != issuer:
        yield failure(
            f"{url} names the issuer {said}, and tokens carry {issuer}: verifiers compare every "
            "byte",
            "Ask at the issuer's own address, or deploy with the DomainName that is meant.",
        )
    for member, path in _ENDPOINTS.items():
        if answer.member(member) != issuer + path:
            yield failure(f"{member} is {answer.member(member)}, not {issuer}{path}", _DEPLOY)


def endpoints(patient: Patient) -> Iterator[Finding]:
    """Endpoints that authenticate clients let nobody in without credentials."""
    for path in (paths.TOKEN, paths.INTROSPECTION, paths.REVOCATION):
        url = patient.deployment.issuer + path
        answer = patient.ask("POST", url, FORM, b"grant_type=client_credentials&token=none")
        if (answer.status, answer.member("error")) == (401, "invalid_client"):
            yield ok(f"{path} asks for credentials")
        else:
            yield failure(
                f"{path} answers {answer.status} {answer.member('error')} to nobody, in place of "
                "401 invalid_client",
                "Read the function's log.",
            )


def key_set(patient: Patient) -> Iterator[Finding]:
    """The published key set holds the ring's public keys, and nothing private."""
    answer = patient.ask("GET", patient.deployment.issuer + paths.JWKS)
    keys = answer.member("keys")
    if answer.status != HTTPStatus.OK or not isinstance(keys, list):
        yield failure(
            f"it answers {answer.status}, so verifiers live on the keys that they have",
            "Read the log of PublishJwks before those get too old: AuthorizerKeyCacheSeconds.",
        )
        return
    yield from either(_key_faults(patient, keys), f"{len(keys)} published, as the ring says")


def _key_faults(patient: Patient, keys: list[dict[str, object]]) -> Iterator[Finding]:
    private = sorted(_PRIVATE.intersection(*[set().union(*keys)]))
    if private:
        yield failure(
            f"a published key has the private members {', '.join(private)}",
            "Whoever has read it can sign: gatehouse keys emergency --revoke.",
        )
    now, ring = patient.now, patient.ring
    published = {str(key.get("kid")) for key in keys}
    # Between two moments at which every process knows the ring a key may be there, or not yet.
    settled = {key.kid for key in ring.published_keys(now - SETTLING)}
    due = {key.kid for key in ring.published_keys(now)}
    if missing := (due & settled) - published:
        yield failure(
            f"not published: {named(missing)}; its tokens are refused",
            f"If the ring was written less than {SETTLING} s ago, look again. Else deploy again.",
        )
    if extra := published - due - settled:
        yield failure(
            f"published, and not in the ring: {named(extra)}",
            f"If one was withdrawn less than {SETTLING} s ago, look again. Else deploy again.",
        )


def caching(patient: Patient) -> Iterator[Finding]:
    """Documents say how long they may be kept, and are not sent twice to who has them."""
    for path, longest in ((DOCUMENTS[0], None), (paths.JWKS, JWKS_MAX_AGE)):
        url = patient.deployment.issuer + path
        answer = patient.ask("GET", url)
        cache_control = answer.headers.get("Cache-Control", "")
        age, tag = _MAX_AGE.search(cache_control), answer.headers.get("ETag")
        if age is None or tag is None:
            yield failure(
                f"{path} comes without max-age or ETag ({cache_control or 'no Cache-Control'})",
                "Does something in front of the API take headers away?",
            )
            continue
        if longest is not None and int(age[1]) > longest:
            yield failure(
                f"{path} may be kept for {age[1]} s, and rotation counts on {longest} s: tokens of "
                "new keys would be refused",
                "Does a CDN in front of the API set its own max-age?",
            )
            continue
        again = patient.ask("GET", url, {"If-None-Match": tag})
        if again.status == HTTPStatus.NOT_MODIFIED:
            yield ok(f"{path}: max-age {age[1]}, and 304 to who has it")
        else:
            yield warning(
                f"{path} answers {again.status} to who has it, in place of 304",
                "Does something in front of the API take If-None-Match away? It costs only time.",
            )


def clocks(patient: Patient) -> Iterator[Finding]:
    """This machine's clock and the server's agree."""
    before = patient.now
    answer = patient.ask("GET", patient.deployment.issuer + DOCUMENTS[0])
    after = patient.now
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        yield warning("the server tells no time (Date)", "Does something take the header away?")
        return
    # Date is cut to whole seconds, and was written while we waited.
    drift = max(there - after, before - 1 - there, 0)
    if drift > CLOCK_SKEW:
        yield failure(
            f"the clocks differ by {span(drift)}; rotation counts on less than {CLOCK_SKEW} s",
            "Set this machine's clock. AWS keeps its own.",
        )
    elif drift > _DRIFT:
        yield warning(
            f"the clocks differ by {span(drift)}, and a token may be {LEEWAY} s early at most",
            "Set this machine's clock.",
        )
    else:
        yield ok(f"the clocks agree within {_DRIFT} s")


def mutual_tls(patient: Patient) -> Iterator[Finding]:
    """Clients with certificates have an address where they can present them."""
    answer = patient.ask("GET", patient.deployment.issuer + DOCUMENTS[0])
    needing = [
        client.client_id
        for client in patient.clients
        if any("tls_client_auth" in method for method in client.authentication_methods)
    ]
    if answer.member("mtls_endpoint_aliases"):
        yield ok("there is an address behind mutual TLS")
    elif needing:
        yield failure(
            f"{named(needing)} cannot authenticate: no address asks for certificates",
            "Deploy with MtlsDomainName and TruststoreUri: docs/deploy.md.",
        )
    else:
        yield ok("no client has a certificate, and no address asks for one")


CHECKS: Final = (
    Check("authorization server", "metadata", metadata),
    Check("authorization server", "endpoints", endpoints),
    Check("authorization server", "key set", key_set),
    Check("authorization server", "cache headers", caching),
    Check("authorization server", "clocks", clocks),
    Check("authorization server", "mutual TLS", mutual_tls),
)
