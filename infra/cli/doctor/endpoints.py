"""Checks of the authorization server from outside: its documents and endpoints."""

import re
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from authorizer.claims import LEEWAY
from functions.shared.clients.supported import SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_X509, TLS_CLIENT_AUTH
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.rotation import CLOCK_SKEW, PROPAGATION_SECONDS
from functions.shared.web.endpoint import (
    AUTHORIZATION_PATH,
    DISCOVERY_PATH,
    INTROSPECTION_PATH,
    JWKS_PATH,
    METADATA_PATH,
    REVOCATION_PATH,
    TOKEN_PATH,
)

from ..aws_errors import translated_errors
from ..errors import CommandError, UnreachableError
from ..http_client import Response
from ..times import span
from .context import CheckContext, Checks, Finding, Findings, failure, named, ok, warning

CHECKS = Checks()


@CHECKS.add("deployment", "reach")
def reach(context: CheckContext) -> Findings:
    """The authorization server, the guarded API and AWS answer with any status."""
    deployment = context.deployment
    asked: dict[str, Callable[[], object]] = {
        "the authorization server": lambda: context.ask("GET", deployment.issuer + JWKS_PATH),
        "AWS": lambda: context.ring,
    }
    if deployment.guarded_api:
        asked["the guarded API"] = lambda: context.ask("GET", deployment.guarded_api)
    silent = {name: error for name, ask in asked.items() if (error := _silence(ask))}
    for error in silent.values():
        context.is_known(error)
    if silent:
        hosts = ", ".join(f"{name} at {error.host}" for name, error in silent.items())
        yield failure(f"no answer: {hosts}", next(iter(silent.values())).next_step)
    return f"{', '.join(asked)}: each answers"


def _silence(ask: Callable[[], object]) -> UnreachableError | None:
    """Return the error if there was no response; None for any response."""
    try:
        with translated_errors():
            ask()
    except CommandError as error:
        return error if isinstance(error, UnreachableError) else None
    return None


DOCUMENTS = (METADATA_PATH, DISCOVERY_PATH)
_ENDPOINTS = {
    "token_endpoint": TOKEN_PATH,
    "jwks_uri": JWKS_PATH,
    "introspection_endpoint": INTROSPECTION_PATH,
    "revocation_endpoint": REVOCATION_PATH,
}
_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d+)")
_DRIFT = 5
_DEPLOY = "Deploy again; if it stays, read the function's log."


@CHECKS.add("authorization server", "metadata")
def metadata(context: CheckContext) -> Iterator[Finding]:
    """The metadata documents are equal and have this issuer and its endpoints."""
    issuer = context.deployment.issuer
    answers = {url: context.ask("GET", url) for url in _document_urls(context)}
    for url, answer in answers.items():
        yield from list(_document_faults(answer, url, issuer)) or [ok(f"{url} has the expected metadata")]
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


def _document_faults(answer: Response, url: str, issuer: str) -> Iterator[Finding]:
    if answer.status != HTTPStatus.OK or not isinstance(answer.json, dict):
        yield failure(f"{url} answers {answer.status}", _DEPLOY)
        return
    said = answer.member("issuer")
    if said != issuer:
        yield failure(
            f"{url} has the issuer {said}, and tokens have {issuer}: verifiers compare every byte",
            "Use the issuer's own address, or deploy with the right DomainName.",
        )
    expected = dict(_ENDPOINTS)
    if answer.member("authorization_endpoint"):  # present unless AuthorizationEndpoint is false
        expected["authorization_endpoint"] = AUTHORIZATION_PATH
    for member, path in expected.items():
        if answer.member(member) != issuer + path:
            yield failure(f"{member} is {answer.member(member)}, not {issuer}{path}", _DEPLOY)


@CHECKS.add("authorization server", "endpoints")
def endpoints(context: CheckContext) -> Iterator[Finding]:
    """Endpoints that authenticate clients reject requests without credentials."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in (TOKEN_PATH, INTROSPECTION_PATH, REVOCATION_PATH):
        url = context.deployment.issuer + path
        answer = context.ask("POST", url, form, b"grant_type=client_credentials&token=none")
        if (answer.status, answer.member("error")) == (401, "invalid_client"):
            yield ok(f"{path} requires credentials")
        else:
            yield failure(
                f"{path} answers {answer.status} {answer.member('error')} without credentials, not 401 invalid_client",
                "Read the function's log.",
            )


@CHECKS.add("authorization server", "key set")
def key_set(context: CheckContext) -> Findings:
    """The published key set holds the ring's public keys, and nothing private."""
    answer = context.ask("GET", context.deployment.issuer + JWKS_PATH)
    keys = answer.member("keys")
    if answer.status != HTTPStatus.OK or not isinstance(keys, list):
        yield failure(
            f"it answers {answer.status}, so verifiers use their cached keys",
            "Read the log of PublishJwks. Cached keys expire after AuthorizerKeyCacheSeconds.",
        )
        return ""
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
            f"If the ring was written less than {PROPAGATION_SECONDS} s ago, look again. Else deploy again.",
        )
    if extra := published - due - settled:
        yield failure(
            f"published, and not in the ring: {named(extra)}",
            f"If one was withdrawn less than {PROPAGATION_SECONDS} s ago, look again. Else deploy again.",
        )
    return f"{len(keys)} published, as in the key ring"


@CHECKS.add("authorization server", "cache headers")
def caching(context: CheckContext) -> Iterator[Finding]:
    """Documents have a max-age and support If-None-Match."""
    for path, longest in ((DOCUMENTS[0], None), (JWKS_PATH, JWKS_MAX_AGE)):
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


@CHECKS.add("authorization server", "clocks")
def clocks(context: CheckContext) -> Findings:
    """This machine's clock and the server's agree."""
    before = context.now
    answer = context.ask("GET", context.deployment.issuer + DOCUMENTS[0])
    after = context.now
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        yield warning("responses have no Date header", "Does a proxy remove it?")
        return ""
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
    return f"the clocks agree within {_DRIFT} s"


_CERTIFICATE_METHODS = {TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_X509}


@CHECKS.add("authorization server", "mutual TLS")
def mutual_tls(context: CheckContext) -> Findings:
    """Clients with certificates have an address with mutual TLS."""
    answer = context.ask("GET", context.deployment.issuer + DOCUMENTS[0])
    needing = [client.client_id for client in context.clients if client.authentication_methods & _CERTIFICATE_METHODS]
    if answer.member("mtls_endpoint_aliases"):
        return "an address with mutual TLS exists"
    if needing:
        yield failure(
            f"{named(needing)} cannot authenticate: no address has mutual TLS",
            "Deploy with MtlsDomainName and TruststoreUri: docs/deploy.md.",
        )
    return "no client has a certificate, and no address has mutual TLS"


GUARDED = "/country"
UNKNOWN = "/gatehouse-doctor-knows-no-such-route"
API_METADATA = "/.well-known/oauth-protected-resource"
_JUNK = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImRvY3RvciJ9.e30.c2lnbmF0dXJl"
"""A token without an issuer: it costs the authorizer no fetch."""


@CHECKS.add("guarded API", "without a token", of_sample_api=True)
def without_token(context: CheckContext) -> Findings:
    """A request without a token is refused with a challenge (RFC 6750, 3)."""
    return (yield from _refusal(_get(context, GUARDED), "a request without a token"))


@CHECKS.add("guarded API", "with a forged token", of_sample_api=True)
def junk_token(context: CheckContext) -> Findings:
    """An invalid token reaches the authorizer and is rejected with a challenge."""
    answer = _get(context, GUARDED, {"Authorization": f"Bearer {_JUNK}"})
    return (yield from _refusal(answer, "a forged token"))


def _refusal(answer: Response, what: str) -> Findings:
    challenge = answer.headers.get("WWW-Authenticate", "")
    deploy = "Deploy again: the gateway responses of the template are not those in force."
    if answer.status >= 500:
        yield failure(
            f"{what} is answered {answer.status}: the authorizer cannot be invoked or cannot start",
            "Read its log; is API Gateway allowed to invoke it?",
        )
    elif answer.status != HTTPStatus.UNAUTHORIZED:
        yield failure(f"{what} is answered {answer.status}, not 401", "Has the route lost its authorizer?")
    else:
        if "Bearer" not in challenge:
            yield failure(f"{what} gets 401 without a Bearer challenge ({challenge or 'none'})", deploy)
        if not answer.member("error"):
            yield failure(f"{what} gets 401 without a reason in the body", deploy)
    return f"{what} is answered 401 with a challenge"


@CHECKS.add("guarded API", "unknown route", of_sample_api=True)
def unknown_route(context: CheckContext) -> Findings:
    """An unknown route is 404 with JSON."""
    answer = _get(context, UNKNOWN)
    if (answer.status, answer.member("error")) != (404, "not_found"):
        yield failure(
            f"an unknown route is answered {answer.status} {answer.member('error')}",
            "Deploy again: the gateway responses of the template are not those in force.",
        )
    return "an unknown route is answered 404"


@CHECKS.add("guarded API", "metadata", of_sample_api=True)
def api_metadata(context: CheckContext) -> Findings:
    """The API's metadata has its issuer (RFC 9728)."""
    answer = _get(context, API_METADATA)
    issuer, servers = context.deployment.issuer, answer.member("authorization_servers")
    if answer.status != HTTPStatus.OK or not isinstance(servers, list) or issuer not in servers:
        yield failure(
            f"its metadata ({answer.status}) name {servers}, not {issuer}",
            "Deploy again; if it stays, read the log of PublishResourceMetadata.",
        )
    return "its metadata has the issuer"


def _get(context: CheckContext, path: str, headers: Mapping[str, str] | None = None) -> Response:
    return context.ask("GET", context.deployment.guarded_api + path, headers)
