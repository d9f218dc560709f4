"""Checks of the authorization server from outside: its documents and endpoints."""

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from authorizer.claims import LEEWAY
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.rotation import CLOCK_SKEW, PROPAGATION_SECONDS
from functions.shared.web import paths
from infra.cli.doctor.context import FORM, CheckContext
from infra.cli.doctor.results import Check, Finding, either, failure, named, ok, warning
from infra.cli.http_client import Answer
from infra.cli.times import span

DOCUMENTS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_ENDPOINTS = {
    "token_endpoint": paths.TOKEN,
    "jwks_uri": paths.JWKS,
    "introspection_endpoint": paths.INTROSPECTION,
    "revocation_endpoint": paths.REVOCATION,
}
_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d+)")
_DRIFT = 5
_DEPLOY = "Deploy again; if it stays, read the function's log."


def metadata(context: CheckContext) -> Iterator[Finding]:
    """The metadata documents are equal and have this issuer and its endpoints."""
    issuer = context.deployment.issuer
    answers = {url: context.ask("GET", url) for url in _document_urls(context)}
    for url, answer in answers.items():
        yield from either(_document_faults(answer, url, issuer), f"{url} has the expected metadata")
    if len({answer.body for answer in answers.values()}) > 1:
        yield failure("the documents differ", _DEPLOY)


def _document_urls(context: CheckContext) -> Iterator[str]:
    """Yield the documents' addresses. RFC 8414, 3, and OpenID Connect Discovery 1.0, 4."""
    deployment = context.deployment
    yield from (deployment.issuer + path for path in DOCUMENTS)
    # The root of an execute-api address cannot be routed.
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
            f"{url} has the issuer {said}, and tokens have {issuer}: verifiers compare every byte",
            "Use the issuer's own address, or deploy with the right DomainName.",
        )
    for member, path in _ENDPOINTS.items():
        if answer.member(member) != issuer + path:
            yield failure(f"{member} is {answer.member(member)}, not {issuer}{path}", _DEPLOY)


def endpoints(context: CheckContext) -> Iterator[Finding]:
    """Endpoints that authenticate clients reject requests without credentials."""
    for path in (paths.TOKEN, paths.INTROSPECTION, paths.REVOCATION):
        url = context.deployment.issuer + path
        answer = context.ask("POST", url, FORM, b"grant_type=client_credentials&token=none")
        if (answer.status, answer.member("error")) == (401, "invalid_client"):
            yield ok(f"{path} requires credentials")
        else:
            yield failure(
                f"{path} answers {answer.status} {answer.member('error')} without credentials, not "
                "401 invalid_client",
                "Read the function's log.",
            )


def key_set(context: CheckContext) -> Iterator[Finding]:
    """The published key set holds the ring's public keys, and nothing private."""
    answer = context.ask("GET", context.deployment.issuer + paths.JWKS)
    keys = answer.member("keys")
    if answer.status != HTTPStatus.OK or not isinstance(keys, list):
        yield failure(
            f"it answers {answer.status}, so verifiers use their cached keys",
            "Read the log of PublishJwks. Cached keys expire after AuthorizerKeyCacheSeconds.",
        )
        return
    yield from either(_key_faults(context, keys), f"{len(keys)} published, as in the key ring")


def _key_faults(context: CheckContext, keys: list[dict[str, object]]) -> Iterator[Finding]:
    private = sorted(_PRIVATE.intersection(*[set().union(*keys)]))
    if private:
        yield failure(
            f"a published key has the private members {', '.join(private)}",
            "Readers of the key set can sign tokens: gatehouse keys emergency --revoke.",
        )
    now, ring = context.now, context.ring
    published = {str(key.get("kid")) for key in keys}
    # While processes still have different copies of the ring, a new key may be missing.
    settled = {key.kid for key in ring.published_keys(now - PROPAGATION_SECONDS)}
    due = {key.kid for key in ring.published_keys(now)}
    if missing := (due & settled) - published:
        yield failure(
            f"not published: {named(missing)}; its tokens are refused",
            f"If the ring was written less than {PROPAGATION_SECONDS} s ago, look again. "
            "Else deploy again.",
        )
    if extra := published - due - settled:
        yield failure(
            f"published, and not in the ring: {named(extra)}",
            f"If one was withdrawn less than {PROPAGATION_SECONDS} s ago, look again. "
            "Else deploy again.",
        )


def caching(context: CheckContext) -> Iterator[Finding]:
    """Documents have a max-age and support If-None-Match."""
    for path, longest in ((DOCUMENTS[0], None), (paths.JWKS, JWKS_MAX_AGE)):
        url = context.deployment.issuer + path
        answer = context.ask("GET", url)
        cache_control = answer.headers.get("Cache-Control", "")
        age, tag = _MAX_AGE.search(cache_control), answer.headers.get("ETag")
        if age is None or tag is None:
            yield failure(
                f"{path} comes without max-age or ETag ({cache_control or 'no Cache-Control'})",
                "Does a proxy in front of the API remove headers?",
            )
            continue
        if longest is not None and int(age[1]) > longest:
            yield failure(
                f"{path} may be cached for {age[1]} s, and rotation assumes {longest} s: tokens of "
                "new keys would be rejected",
                "Does a CDN in front of the API set its own max-age?",
            )
            continue
        again = context.ask("GET", url, {"If-None-Match": tag})
        if again.status == HTTPStatus.NOT_MODIFIED:
            yield ok(f"{path}: max-age {age[1]}, supports If-None-Match")
        else:
            yield warning(
                f"{path} answers {again.status} to If-None-Match, not 304",
                "Does a proxy in front of the API remove If-None-Match? It only costs time.",
            )


def clocks(context: CheckContext) -> Iterator[Finding]:
    """This machine's clock and the server's agree."""
    before = context.now
    answer = context.ask("GET", context.deployment.issuer + DOCUMENTS[0])
    after = context.now
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        yield warning("responses have no Date header", "Does a proxy remove it?")
        return
    # Date has whole seconds and was written during the request.
    drift = max(there - after, before - 1 - there, 0)
    if drift > CLOCK_SKEW:
        yield failure(
            f"the clocks differ by {span(drift)}; rotation assumes less than {CLOCK_SKEW} s",
            "Set this machine's clock. AWS synchronizes its own.",
        )
    elif drift > _DRIFT:
        yield warning(
            f"the clocks differ by {span(drift)}, and a token may be {LEEWAY} s early at most",
            "Set this machine's clock.",
        )
    else:
        yield ok(f"the clocks agree within {_DRIFT} s")


def mutual_tls(context: CheckContext) -> Iterator[Finding]:
    """Clients with certificates have an address with mutual TLS."""
    answer = context.ask("GET", context.deployment.issuer + DOCUMENTS[0])
    needing = [
        client.client_id
        for client in context.clients
        if any("tls_client_auth" in method for method in client.authentication_methods)
    ]
    if answer.member("mtls_endpoint_aliases"):
        yield ok("an address with mutual TLS exists")
    elif needing:
        yield failure(
            f"{named(needing)} cannot authenticate: no address has mutual TLS",
            "Deploy with MtlsDomainName and TruststoreUri: docs/deploy.md.",
        )
    else:
        yield ok("no client has a certificate, and no address has mutual TLS")


CHECKS = (
    Check("authorization server", "metadata", metadata),
    Check("authorization server", "endpoints", endpoints),
    Check("authorization server", "key set", key_set),
    Check("authorization server", "cache headers", caching),
    Check("authorization server", "clocks", clocks),
    Check("authorization server", "mutual TLS", mutual_tls),
)
