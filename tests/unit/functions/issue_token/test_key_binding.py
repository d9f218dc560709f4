"""DPoP and certificate binding at the token endpoint."""

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.claims import Confirmation
from authorizer.dpop import MAX_PROOF_AGE
from authorizer.jwk_thumbprint import thumbprint
from functions.issue_token.key_binding import FRESH_SECONDS, MINUTES, STALE_SECONDS, DpopNonces, KeyBindingCheck
from functions.shared.clients.client import TokenFormat, TokenProfile
from functions.shared.keys.key_ring import STALE_SECONDS as RING_STALE_SECONDS
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.web.oauth_errors import InvalidDpopProofError, InvalidRequestError
from functions.shared.web.proxy_request import ClientCertificate, ProxyRequest
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.memory_server import TOKEN_URL, MemoryServer, memory_server
from tests.support.memory_stores import MemorySecrets
from tests.support.server import NOW, client

JKT = thumbprint(public_jwk())
MTLS_TOKEN_URL = "https://mtls.example/ms-auth-server/oauth2/token"


def _server() -> MemoryServer:
    return memory_server(
        client("free"),
        client("api", token_profile=TokenProfile.AT_JWT, audience=("https://api",)),
        client("opaque", token_format=TokenFormat.OPAQUE),
        client("bound", dpop_bound_access_tokens=True),
        client("careful", dpop_nonce_required=True),
        client("certified", tls_client_certificate_bound_access_tokens=True),
    )


HYPOTHETICAL = _server()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("client_id", ["free", "api"])
def test_rfc9449_5_proof_binds_the_token_to_its_key(client_id: str) -> None:
    answer = _server().token(client_id, headers={"DPoP": proof()})
    assert answer["token_type"] == "DPoP"
    assert _claims(answer["access_token"])["cnf"] == {"jkt": JKT}


def test_rfc9449_6_2_introspection_shows_the_key() -> None:
    server = _server()
    token = server.token("opaque", headers={"DPoP": proof()})["access_token"]
    shown = server.introspect("opaque", token)
    assert (shown["token_type"], shown["cnf"]) == ("DPoP", {"jkt": JKT})


def test_request_without_proof_gets_a_bearer_token() -> None:
    server = _server()
    answer = server.post("free")
    assert json.loads(answer["body"])["token_type"] == "Bearer"
    assert "DPoP-Nonce" not in answer["headers"]
    assert "dpop-nonce" not in server.store.reads


def test_rfc9449_5_2_bound_client_must_send_a_proof() -> None:
    server = _server()
    answer = server.post("bound")
    assert json.loads(answer["body"])["error"] == "invalid_request"
    assert answer["headers"]["DPoP-Nonce"] == server.nonces.current(NOW)
    assert server.token("bound", headers={"DPoP": proof()})["token_type"] == "DPoP"


@pytest.mark.parametrize(
    "headers",
    [
        {"DPoP": [proof(), proof()]},
        *({"DPoP": bad} for bad in ("", "x", proof(htm="GET"), proof(htu="https://elsewhere/token"))),
        {"DPoP": proof(now=NOW - 600)},
        {"DPoP": proof(htu="https://evil.example/oauth2/token"), "Host": "evil.example"},
    ],
    ids=["two", "empty", "no JWT", "htm", "htu", "old", "another host"],
)
def test_rfc9449_5_invalid_proof_is_invalid_dpop_proof(headers: dict[str, str | list[str]]) -> None:
    server = _server()
    assert server.refusal("free", headers=headers) == "invalid_dpop_proof"
    assert "reason" in json.loads(server.log[-1])


# By character: whole words may be words of the code, which are in every log line.
@given(st.lists(st.characters(), max_size=300).map("".join))
def test_no_proof_breaks_the_endpoint(text: str) -> None:
    assert HYPOTHETICAL.refusal("free", headers={"DPoP": text}) == "invalid_dpop_proof"


@given(st.dictionaries(st.sampled_from(["htm", "htu", "jti", "iat", "nonce", "ath"]), JSON))
def test_no_proof_claims_break_the_endpoint(claims: dict[str, Any]) -> None:
    answer = HYPOTHETICAL.post("free", headers={"DPoP": proof(**claims)})
    assert answer["statusCode"] in {200, 400}


def test_rfc9449_11_1_used_proof_is_stored_until_it_expires() -> None:
    server, once = _server(), proof()
    server.token("free", headers={"DPoP": once})
    (until,) = server.used.until.values()
    assert until > NOW + MAX_PROOF_AGE
    for now in (NOW, NOW + MAX_PROOF_AGE - 0.001):
        server.clock.now = now
        assert server.refusal("free", headers={"DPoP": once}) == "invalid_dpop_proof"
        assert "before" in json.loads(server.log[-1])["reason"]


def test_rfc9449_11_1_one_of_100_concurrent_uses_succeeds() -> None:
    server, once = _server(), proof()
    with ThreadPoolExecutor(16) as threads:
        answers = threads.map(lambda _: server.post("free", headers={"DPoP": once}), range(100))
        assert sorted(answer["statusCode"] for answer in answers) == [200] + 99 * [400]


def test_other_errors_do_not_consume_the_proof() -> None:
    server, once = _server(), proof()
    refused = server.refusal("free", {"scope": "unknown"}, headers={"DPoP": once})
    assert refused == "invalid_scope"
    assert server.token("free", headers={"DPoP": once})["token_type"] == "DPoP"


def test_rfc9449_8_missing_nonce_is_use_dpop_nonce() -> None:
    server = _server()
    answer = server.post("careful", headers={"DPoP": proof()})
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"] == "use_dpop_nonce"
    nonce = answer["headers"]["DPoP-Nonce"]
    assert server.token("careful", headers={"DPoP": proof(nonce=nonce)})["token_type"] == "DPoP"


def test_rfc9449_8_foreign_nonce_is_rejected() -> None:
    assert _server().refusal("free", headers={"DPoP": proof(nonce="x")}) == "use_dpop_nonce"


def test_rfc9449_8_2_response_has_the_next_nonce() -> None:
    server = _server()
    server.clock.now = NOW + 60
    for sent in (proof(now=NOW + 60), "x", proof(now=NOW + 60, nonce="x")):
        headers = server.post("free", headers={"DPoP": sent})["headers"]
        assert headers["DPoP-Nonce"] == server.nonces.current(NOW + 60)


def test_missing_nonce_secret_is_a_logged_server_error() -> None:
    server = _server()
    del server.store.texts["dpop-nonce"]
    answer = server.post("free", headers={"DPoP": proof()})
    assert answer["statusCode"] == 500
    assert json.loads(server.log[-1])["reason"] == "the DPoP nonce secret has no value"


CERTIFICATE = ClientCertificate(b"der")
CERTIFICATE_THUMBPRINT = jwt.utils.base64url_encode(sha256(b"der").digest()).decode()


def _check(client_id: str, certificate: ClientCertificate | None, **headers: tuple[str, ...]) -> Confirmation | None:
    server = _server()
    known = server.clients.find(client_id)
    assert known
    request = ProxyRequest("POST", "/", headers=headers, client_certificate=certificate)
    return (
        KeyBindingCheck(TOKEN_URL, server.nonces, server.used, MTLS_TOKEN_URL).check(request, known, NOW).confirmation
    )


@pytest.mark.parametrize("certificate", [None, CERTIFICATE])
def test_rfc9449_4_3_mutual_tls_has_its_own_htu(certificate: ClientCertificate | None) -> None:
    right, other = (MTLS_TOKEN_URL, TOKEN_URL) if certificate else (TOKEN_URL, MTLS_TOKEN_URL)
    assert _check("free", certificate, dpop=(proof(htu=right),)) == Confirmation("jkt", JKT)
    with pytest.raises(InvalidDpopProofError):
        _check("free", certificate, dpop=(proof(htu=other),))


def test_rfc8705_3_1_token_is_bound_to_the_certificate() -> None:
    assert _check("certified", CERTIFICATE) == Confirmation("x5t#S256", CERTIFICATE_THUMBPRINT)


@pytest.mark.parametrize("token_format", TokenFormat)
def test_rfc8705_3_2_thumbprint_is_in_token_or_introspection(token_format: TokenFormat) -> None:
    server = _server()
    bound = client("certified", token_format=token_format, tls_client_certificate_bound_access_tokens=True)
    server.clients.put(bound)
    pem = f"-----BEGIN CERTIFICATE-----\n{b64encode(b'der').decode()}\n-----END CERTIFICATE-----"
    context = {"requestId": "r", "identity": {"clientCert": {"clientCertPem": pem}}}
    answer = server.token("certified", requestContext=context)
    assert answer["token_type"] == "Bearer"
    shown = server.introspect("certified", answer["access_token"])
    assert shown["cnf"] == {"x5t#S256": CERTIFICATE_THUMBPRINT}
    if token_format is TokenFormat.JWT:
        assert _claims(answer["access_token"])["cnf"] == shown["cnf"]


def test_rfc8705_3_bound_client_needs_a_certificate() -> None:
    with pytest.raises(InvalidRequestError, match="certificate"):
        _check("certified", None)


def test_token_is_bound_to_one_key() -> None:
    with pytest.raises(InvalidRequestError, match="not by DPoP"):
        _check("certified", CERTIFICATE, dpop=(proof(),))
    with pytest.raises(ValueError, match="one key"):
        client(dpop_bound_access_tokens=True, tls_client_certificate_bound_access_tokens=True)


MINUTE_START = 1_700_000_040.0  # a whole minute


def _nonces(secret: str = "n" * 64) -> DpopNonces:
    return DpopNonces(MemorySecrets(nonce=secret), "nonce", ManualClock(MINUTE_START))


@pytest.mark.parametrize(
    ("age", "accepted"),
    [(0, True), (59, True), (60 * MINUTES - 1, True), (60 * MINUTES, False), (-1, True), (-60, True), (-61, False)],
)
def test_nonce_is_valid_for_minutes(age: float, *, accepted: bool) -> None:
    nonce = _nonces().current(MINUTE_START)
    assert _nonces().accepts(nonce, MINUTE_START + age) is accepted
    assert not _nonces("other").accepts(nonce, MINUTE_START + age)
    assert (_nonces().current(MINUTE_START + age) == nonce) is (0 <= age < 60)


def test_rfc9449_8_1_nonce_has_allowed_characters() -> None:
    assert set(_nonces().current(MINUTE_START)) <= {chr(code) for code in range(0x21, 0x7F)} - set('"\\')


def test_stale_nonce_secret_serves_an_outage() -> None:
    class FailingSecrets(MemorySecrets):
        fails = False

        def read(self, name: str) -> str | None:
            if self.fails:
                raise StorageUnavailableError("throttled")
            return super().read(name)

    store, clock = FailingSecrets(nonce="n" * 64), ManualClock(MINUTE_START)
    nonces = DpopNonces(store, "nonce", clock)
    nonces.current(clock.now)
    store.fails = True
    clock.now += FRESH_SECONDS + RING_STALE_SECONDS - 1
    assert nonces.accepts(nonces.current(clock.now), clock.now)
    clock.now = MINUTE_START + STALE_SECONDS
    with pytest.raises(StorageUnavailableError):
        nonces.current(clock.now)
