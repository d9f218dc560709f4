"""Bound tokens at the resource: DPoP proofs and client certificates, in every format of event."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from authorizer.errors import StateUnavailableError, UnsupportedEventError
from authorizer.jwk_thumbprint import thumbprint
from tests.support.authorizer_events import HOSTS, recorded, with_certificate, with_header
from tests.support.authorizer_sandbox import Sandbox
from tests.support.client_certificates import common_name_certificate
from tests.support.dpop_proofs import proof as write_proof
from tests.support.dpop_proofs import public_jwk
from tests.support.policies import allows
from tests.support.tokens import ISSUER, STAGE_ARN, forge_claims

Event = dict[str, Any]
KINDS = ("rest_request", "http_1", "http_2")
DPOP = {"PROOF_OF_POSSESSION": "dpop", "REPLAYS_IN_MEMORY": "true"}
MTLS = {"PROOF_OF_POSSESSION": "mtls"}
URLS = {kind: f"https://{HOSTS[kind]}/ms-system/country/code/AUS" for kind in KINDS}
OPAQUE = "an-opaque-token"


def _digest(raw: bytes) -> str:
    return urlsafe_b64encode(sha256(raw).digest()).rstrip(b"=").decode()


def _pem(name: str = "client") -> str:
    return common_name_certificate(name).public_bytes(Encoding.PEM).decode()


@cache
def _bound_by_key() -> str:
    return forge_claims(cnf={"jkt": thumbprint(public_jwk())})


@cache
def _bound_by_certificate() -> str:
    der = common_name_certificate("client").public_bytes(Encoding.DER)
    return forge_claims(cnf={"x5t#S256": _digest(der)})


def _proof(token: str = "", kind: str = "rest_request", **changes: object) -> str:
    """Write a proof for the recorded request; a claim that is None is left out."""
    said: dict[str, Any] = {"htm": "GET", "htu": URLS[kind], "ath": _digest((token or _bound_by_key()).encode())}
    return write_proof(**(said | changes))


def _event(*proofs: str, token: str = "", kind: str = "rest_request", scheme: str = "DPoP") -> Event:
    event = recorded(kind, token or _bound_by_key(), scheme)
    return with_header(event, "DPoP", *proofs) if proofs else event


@pytest.mark.parametrize("kind", KINDS)
def test_bound_token_with_proof_is_accepted(kind: str) -> None:
    answer = Sandbox(**DPOP).decide(_event(_proof(kind=kind), kind=kind))
    stage = STAGE_ARN if kind == "rest_request" else STAGE_ARN.replace("abcdef1234", "hijklm5678")
    assert allows(answer["policyDocument"], f"{stage}/GET/country")


def test_websocket_accepts_a_proof() -> None:
    url = "https://nopqrs9012.execute-api.eu-west-1.amazonaws.com/live"
    event = with_header(recorded("websocket_connect", _bound_by_key(), "DPoP"), "DPoP", _proof(htu=url))
    assert Sandbox(**DPOP).decide(event)


BAD: dict[str, tuple[Callable[[], Event], str]] = {
    "77 a bearer token sent with a proof": (
        lambda: _event(_proof(forge_claims()), token=forge_claims()),
        "token_not_bound",
    ),
    "78 no headers": (lambda: recorded("rest_token", _bound_by_key(), "DPoP"), "proof_missing"),
    "78 two proofs, joined": (
        lambda: _event(_proof(kind="http_2"), _proof(kind="http_2"), kind="http_2"),
        "proof_several",
    ),
    "78 an empty proof": (lambda: _event(""), "token_empty"),
    "79 the token as its own proof": (lambda: _event(_bound_by_key()), "typ_not_allowed"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_77_to_79_invalid_proof_is_rejected(make: Callable[[], Event], reason: str) -> None:
    assert Sandbox(**DPOP).refusal(make()) == reason


@pytest.mark.parametrize("query", ["?a=b", "#part"])
def test_80_query_and_fragment_are_ignored(query: str) -> None:
    assert Sandbox(**DPOP).decide(_event(_proof(htu=URLS["rest_request"] + query)))


RESERVED = ":@!$&'()*+,;="


@pytest.mark.parametrize("kind", ["http_1", "http_2"])
@pytest.mark.parametrize("character", [*RESERVED, "~", " ", "\u00e4", "%", "?", "[", "#"])
def test_80_http_api_accepts_escapes_of_its_path(kind: str, character: str) -> None:
    sandbox = Sandbox(**DPOP)
    escaped = quote(character, safe="")
    written = {escaped, escaped.lower(), quote(character, safe=RESERVED)}
    for number, segment in enumerate(sorted(written)):
        htu = f"{URLS[kind]}/{segment}/x"
        event = _with_path(_event(_proof(kind=kind, htu=htu, jti=f"{number}"), kind=kind), character)
        assert sandbox.decide(event)


@pytest.mark.parametrize("kind", ["http_1", "http_2"])
def test_80_http_api_rejects_other_characters(kind: str) -> None:
    for segment in ("%2540", "%3A", "a", "%2F", "%40%40", ""):
        event = _event(_proof(kind=kind, htu=f"{URLS[kind]}/{segment}/x"), kind=kind)
        assert Sandbox(**DPOP).refusal(_with_path(event, "@")) == "htu_other"


@pytest.mark.parametrize("character", RESERVED)
def test_80_rest_api_compares_escapes_exactly(character: str) -> None:
    escaped = quote(character, safe="")
    for sent, proved in ((character, escaped), (escaped, character)):
        event = _with_path(_event(_proof(htu=f"{URLS['rest_request']}/{proved}/x")), sent)
        assert Sandbox(**DPOP).refusal(event) == "htu_other"
    event = _with_path(_event(_proof(htu=f"{URLS['rest_request']}/{escaped}/x")), escaped)
    assert Sandbox(**DPOP).decide(event)


def _with_path(event: Event, segment: str) -> Event:
    """Add two segments to the path that the event has."""
    context = event["requestContext"]
    place = context.get("http", context)
    place["path"] += f"/{segment}/x"
    return event


def test_80_custom_domain_is_the_address() -> None:
    event = _event(_proof(htu="https://api.example.com/v1/country/code/AUS"))
    event["requestContext"] |= {"domainName": "api.example.com", "path": "/v1/country/code/AUS"}
    assert Sandbox(**DPOP).decide(event)
    assert Sandbox(**DPOP, RESOURCE="https://api.example.com/v1").decide(event)
    assert Sandbox(**DPOP, RESOURCE="https://other.example.com/v1").refusal(event) == "htu_other"


def test_83_rejected_proof_is_not_consumed() -> None:
    sandbox = Sandbox(**DPOP)
    proof = _proof()
    with pytest.raises(Exception, match="method_arn"):
        sandbox.decide(_event(proof) | {"methodArn": "arn:aws:execute-api:*"})
    assert sandbox.decide(_event(proof))


def test_request_without_address_is_an_error() -> None:
    event = _event(_proof())
    del event["requestContext"]["domainName"]
    with pytest.raises(UnsupportedEventError):
        Sandbox(**DPOP).decide(event)


def test_unbound_token_is_a_bearer_token() -> None:
    for environ in (DPOP, MTLS):
        assert Sandbox(**environ).decide(recorded("rest_request", forge_claims()))


@pytest.mark.parametrize("environ", [{}, MTLS])
def test_dpop_scheme_needs_the_setting(environ: dict[str, str]) -> None:
    assert Sandbox(**environ).refusal(_event(_proof())) == "scheme_wrong"
    assert Sandbox(**environ).refusal(_event(scheme="Bearer")) == "proof_required"


@pytest.mark.parametrize("kind", KINDS)
def test_token_with_its_certificate_is_accepted(kind: str) -> None:
    event = with_certificate(recorded(kind, _bound_by_certificate()), _pem())
    assert Sandbox(**MTLS).decide(event)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (_pem("other"), "certificate_other"),
        (_pem() + _pem(), "certificate_malformed"),
        (_pem() + _pem("other"), "certificate_malformed"),
        ("", "certificate_malformed"),
        (_pem().replace("CERTIFICATE", "PUBLIC KEY"), "certificate_malformed"),
        (_pem().replace("MII", "MI=I", 1), "certificate_malformed"),
    ],
    ids=["another", "twice", "two", "empty", "a key", "no base64"],
)
def test_85_other_certificate_is_rejected(kind: str, pem: str, reason: str) -> None:
    event = with_certificate(recorded(kind, _bound_by_certificate()), pem)
    assert Sandbox(**MTLS).refusal(event) == reason


@pytest.mark.parametrize("kind", ["rest_token", *KINDS])
def test_85_missing_certificate_is_rejected(kind: str) -> None:
    event = recorded(kind, _bound_by_certificate())
    assert Sandbox(**MTLS).refusal(event) == "certificate_missing"


def test_certificate_bound_token_rejects_dpop() -> None:
    both = {"PROOF_OF_POSSESSION": "dpop,mtls", "REPLAYS_IN_MEMORY": "true"}
    event = with_certificate(recorded("rest_request", _bound_by_certificate(), "DPoP"), _pem())
    assert Sandbox(**both).refusal(event) == "token_not_bound"
    assert Sandbox(**DPOP).refusal(recorded("rest_request", _bound_by_certificate())) == ("proof_required")


def test_introspection_binds_an_opaque_token() -> None:
    sandbox = Sandbox(
        **DPOP,
        INTROSPECTION_URI=f"{ISSUER}/oauth2/introspect",
        INTROSPECTION_CLIENT_ID="authorizer",
        INTROSPECTION_CLIENT_SECRET="secret",
    )
    sandbox.introspected = {
        "active": True,
        "client_id": "service",
        "scope": "country.read",
        "token_type": "DPoP",
        "cnf": {"jkt": thumbprint(public_jwk())},
    }
    assert sandbox.refusal(recorded("rest_request", OPAQUE)) == "proof_required"
    assert sandbox.decide(_event(_proof(OPAQUE), token=OPAQUE))


def test_unavailable_replay_store_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    sandbox = Sandbox(PROOF_OF_POSSESSION="dpop", REPLAY_TABLE="state")
    with pytest.raises(StateUnavailableError):
        sandbox.decide(_event(_proof()))
    assert json.loads(sandbox.log[-1])["reason"] == "proof_store_unavailable"
