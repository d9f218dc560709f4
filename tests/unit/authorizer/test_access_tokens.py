import asyncio
import inspect
import json
import logging
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mypy_boto3_dynamodb import DynamoDBClient

import authorizer
from authorizer.access_tokens import AccessTokenError, AccessTokens, HttpRequest, Options, _read_settings
from authorizer.aws_client import AwsClient
from authorizer.errors import Reason
from authorizer.jwk_thumbprint import thumbprint
from authorizer.jws import PROOF_ALGORITHMS
from authorizer.settings import Settings, SettingsError
from authorizer.state_table import revocation_key
from functions.shared.storage.state_table import JwtDenyList
from tests.support import dpop_proofs
from tests.support.answers_server import ReceivedRequest, Reply, answers_server
from tests.support.authorizer_events import KINDS, recorded
from tests.support.aws import STATE_TABLE
from tests.support.client_certificates import certificate_pem
from tests.support.http_issuer import AUDIENCE, JWKS_PATH, HttpIssuer
from tests.support.tokens import claims as token_claims
from tests.support.tokens import encode, jwks, mint, rsa_jwk

RESOURCE = "https://orders.example/v1"
METADATA = f"{AUDIENCE}/.well-known/oauth-protected-resource"


@pytest.fixture
def issuer() -> Iterator[HttpIssuer]:
    with answers_server() as server:
        yield HttpIssuer(server)


def get(token: str | None, *headers: tuple[str, str], path: str = "/v1/orders", **members: Any) -> HttpRequest:
    authorization = [("Authorization", f"Bearer {token}")] if token else []
    return HttpRequest("GET", path, [*authorization, *headers], **members)


def rejection(verify: Callable[[], object]) -> AccessTokenError:
    with pytest.raises(AccessTokenError) as raised:
        verify()
    return raised.value


def test_token_of_the_issuer_is_verified(issuer: HttpIssuer) -> None:
    token = issuer.access_tokens().verify(issuer.token(), "orders.read")
    assert (token.issuer, token.client_id) == (issuer.url, "service-client-jwt")
    assert token.scopes == {"orders.read", "orders.write"}


def test_token_has_all_claims_of_its_issuer(issuer: HttpIssuer) -> None:
    text = issuer.token(tenant="blue", teams=["a", {"b": 1}], aud=[AUDIENCE, "another"])
    tokens = issuer.access_tokens()
    for _ in range(2):  # the second token is from the cache
        claims = tokens.verify(text).claims
        assert (claims["tenant"], claims["teams"], claims["aud"]) == ("blue", ["a", {"b": 1}], [AUDIENCE, "another"])
        assert json.loads(json.dumps(claims)) == jwt.decode(text, options={"verify_signature": False})


@pytest.mark.parametrize("kind", KINDS)
def test_token_of_a_lambda_event_is_verified(issuer: HttpIssuer, kind: str) -> None:
    assert issuer.access_tokens().verify(recorded(kind, issuer.token())).subject == "service-client-jwt"


@pytest.mark.parametrize(
    ("request_of", "reason", "status", "challenge"),
    [
        (lambda _: get(None), "credentials_missing", 401, "Bearer"),
        (lambda _: get(None, ("authorization", "Basic YTpi")), "scheme_wrong", 401, "Bearer"),
        (lambda _: "", "credentials_malformed", 401, "invalid_token"),
        (lambda token: get(token, ("authorization", "Bearer a")), "credentials_several", 400, "invalid_request"),
        (lambda token: get(token, query="access_token=a"), "credentials_several", 400, "invalid_request"),
        (lambda token: get(token[:-4] + "AAAA"), "signature_invalid", 401, "invalid_token"),
        (lambda _: get("opaque"), "opaque_not_accepted", 401, "invalid_token"),
        (lambda token: f"{token}\n", "credentials_malformed", 401, "invalid_token"),
    ],
)
def test_rejection_has_reason_status_and_challenge(
    issuer: HttpIssuer, request_of: Callable[[str], str | HttpRequest], reason: str, status: int, challenge: str
) -> None:
    tokens = issuer.access_tokens()
    error = rejection(lambda: tokens.verify(request_of(issuer.token())))
    expected = challenge if challenge == "Bearer" else f'Bearer error="{challenge}"'
    assert (error.reason, error.status, error.headers["WWW-Authenticate"]) == (reason, status, expected)
    assert json.loads(error.body)["error"] == (error.error or "unauthorized")


def test_similar_query_parameter_is_not_a_token(issuer: HttpIssuer) -> None:
    assert issuer.access_tokens().verify(get(issuer.token(), query="my_access_token=a"))


def test_missing_scope_is_403_with_the_required_scopes(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens(resource_metadata=METADATA)
    error = rejection(lambda: tokens.verify(issuer.token(), "orders.read", "orders.delete"))
    assert (error.reason, error.status) == (Reason.SCOPE_INSUFFICIENT, 403)
    assert error.headers["WWW-Authenticate"] == (
        f'Bearer error="insufficient_scope", scope="orders.read orders.delete", resource_metadata="{METADATA}"'
    )
    assert rejection(lambda: tokens.verify(get(None))).headers["WWW-Authenticate"] == (
        f'Bearer resource_metadata="{METADATA}"'
    )


def test_missing_scope_of_a_bound_token_is_a_dpop_challenge(issuer: HttpIssuer) -> None:
    error = rejection(lambda: dpop_tokens(issuer).verify(bound_request(issuer), "orders.delete"))
    assert error.headers["WWW-Authenticate"] == 'DPoP error="insufficient_scope", scope="orders.delete"'


def test_unavailable_issuer_is_503_with_retry_after(issuer: HttpIssuer) -> None:
    issuer.server.answers[JWKS_PATH] = Reply(500)
    tokens = issuer.access_tokens()
    error = rejection(lambda: tokens.verify(issuer.token()))
    assert (error.reason, error.status) == (Reason.KEY_SET_UNAVAILABLE, 503)
    assert int(error.headers["Retry-After"]) > 0
    assert "WWW-Authenticate" not in error.headers


@pytest.mark.parametrize("event", [{"headers": 3}, {"requestContext": None}, {"multiValueHeaders": {1: []}}])
def test_event_of_another_shape_is_never_accepted(issuer: HttpIssuer, event: dict[str, object]) -> None:
    tokens = issuer.access_tokens()
    assert rejection(lambda: tokens.verify(event)).status in {401, 503}


def test_defect_is_503(issuer: HttpIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = issuer.access_tokens()

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("authorizer.jws.parse", fail)
    error = rejection(lambda: tokens.verify(issuer.token()))
    assert (error.reason, error.status) == (Reason.UNEXPECTED, 503)


def test_unknown_key_during_the_cool_down_is_401_with_retry_after(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens()
    tokens.verify(issuer.token())
    for kid in ("unknown-1", "unknown-2", "unknown-3"):
        token = mint(token_claims(int(time.time()), iss=issuer.url, aud=AUDIENCE), kid)
        error = rejection(lambda token=token: tokens.verify(token))  # type: ignore[misc]
    assert (error.reason, error.status) == (Reason.KID_UNKNOWN, 401)
    assert 0 < int(error.headers["Retry-After"]) <= 31


# Settings


def test_options_are_the_settings_of_the_authorizer() -> None:
    of_the_function = {"scope_map", "api_rules", "api_rules_soft_age", "api_rules_hard_age", "simple_response"}
    of_the_function |= {"usage_keys", "policy_expires", "context_claims", "stack_name", "audiences", "issuer"}
    names = set(Settings._fields) - of_the_function
    assert set(inspect.get_annotations(Options)) == names - {"confirmation_methods"} | {"proof_of_possession"}


def test_typed_options_are_read_as_the_environment_is() -> None:
    others = {"https://other.example": {"audience": ["a"], "client_ids": ["b"]}}
    options = {
        "issuer": "https://issuer.example",
        "audience": ["a", "b"],
        "other_issuers": others,
        "algorithms": ["ES256", "RS256"],
        "require_at_jwt": True,
        "jwks_soft_age": 60,
        "fetch_timeout": 0.5,
        "jwks_uri": None,
    }
    environ = {
        "ISSUER": "https://issuer.example",
        "AUDIENCE": "a,b",
        "OTHER_ISSUERS": json.dumps(others),
        "ALGORITHMS": "ES256,RS256",
        "REQUIRE_AT_JWT": "true",
        "JWKS_SOFT_AGE": "60",
        "FETCH_TIMEOUT": "0.5",
    }
    assert _read_settings(options) == Settings.from_env(environ)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audience": []}, "AUDIENCE is empty"),
        ({"client_ids": []}, "CLIENT_IDS is empty"),
        ({"audience": ""}, "AUDIENCE is empty"),
        ({"audience": ["a", ""]}, "AUDIENCE is empty, or has an empty member"),
        ({"audience": "a,b"}, "AUDIENCE has a member with a comma"),
        ({"client_ids": ["a,b"]}, "CLIENT_IDS has a member with a comma"),
        ({"jwks_seed": ""}, "JWKS_SEED is empty"),
        ({"algorithms": ["HS256"]}, "ALGORITHMS is not a comma list"),
        ({"jwks_uri": "http://issuer.example/keys"}, "JWKS_URI"),
        ({"proof_of_possession": ["dpop"], "replays_in_memory": True}, "RESOURCE"),
        ({"resource_metadata": 'https://api.example/m", error="'}, "RESOURCE_METADATA is not a URL"),
        ({"resource_metadata": "https://api.example/m\r\nSet-Cookie: a=b"}, "RESOURCE_METADATA is not a URL"),
    ],
)
def test_unusable_setting_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AccessTokens(**{"issuer": "https://issuer.example", "audience": AUDIENCE} | options)


def test_library_of_one_process_has_one_key_set_per_issuer(issuer: HttpIssuer) -> None:
    first, second = issuer.access_tokens(), issuer.access_tokens(audience=["another", AUDIENCE])
    first.verify(issuer.token())
    second.verify(issuer.token())
    assert issuer.fetches() == 1
    issuer.access_tokens(algorithms=["RS256", "ES256"]).verify(issuer.token())
    assert issuer.fetches() == 2


# Threads and event loops


def slow_key_set(issuer: HttpIssuer) -> threading.Event:
    """Let the issuer answer when the event is set."""
    finish = threading.Event()

    def respond(_: ReceivedRequest) -> Reply:
        assert finish.wait(10)
        return Reply(200, jwks(rsa_jwk()).decode())

    issuer.server.answers[JWKS_PATH] = respond
    return finish


def test_concurrent_first_requests_of_threads_share_one_fetch(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens()
    finish = slow_key_set(issuer)
    with ThreadPoolExecutor(16) as pool:
        verified = [pool.submit(tokens.verify, issuer.token(jti=str(number))) for number in range(16)]
        finish.set()
        assert {each.result().client_id for each in verified} == {"service-client-jwt"}
    assert issuer.fetches() == 1


def test_concurrent_first_requests_of_a_loop_share_one_fetch(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens()
    finish = slow_key_set(issuer)

    async def verify_all() -> int:
        requests = [tokens.verify_async(issuer.token(jti=str(number)), "orders.read") for number in range(1000)]
        waiting = asyncio.gather(*requests)
        while not issuer.fetches():  # noqa: ASYNC110 - a turn of the loop at a time, while a thread fetches
            await asyncio.sleep(0)
        assert not waiting.done()
        finish.set()
        return len({token.jti for token in await waiting})

    assert asyncio.run(verify_all()) == 1000
    assert issuer.fetches() == 1


def test_cached_keys_verify_on_the_event_loop_at_once(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens()
    tokens.verify(issuer.token())
    coroutine = tokens.verify_async(issuer.token(jti="another"))
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)
    assert finished.value.value.jti == "another"


def test_failed_fetch_of_the_event_loop_is_503(issuer: HttpIssuer) -> None:
    issuer.server.answers[JWKS_PATH] = Reply(500)
    tokens = issuer.access_tokens()
    assert rejection(lambda: asyncio.run(tokens.verify_async(issuer.token()))).status == 503
    assert issuer.fetches() == 1


FORKED = """
import asyncio, os
from authorizer.access_tokens import AccessTokens
from authorizer.testing import MemoryIssuer

issuer = MemoryIssuer()
tokens = AccessTokens(
    issuer=issuer.url, audience=issuer.audience, introspection_uri=issuer.url + "/introspect",
    introspection_client_id="api", introspection_client_secret="secret",
)

def verify():
    return asyncio.run(asyncio.wait_for(tokens.verify_async(issuer.opaque_token()), 10)).client_id

with issuer.serving():
    for _ in range(4):
        verify()
    if not os.fork():
        print(verify(), flush=True)
        os._exit(0)
    os.wait()
"""


def test_forked_process_fetches_with_its_own_threads() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "test-client\n"


# Opaque tokens, proofs, certificates


def test_opaque_token_is_introspected(issuer: HttpIssuer) -> None:
    active = {"active": True, "iss": issuer.url, "client_id": "billing", "scope": "orders.read", "aud": AUDIENCE}
    issuer.server.answers["POST /introspect"] = lambda request: Reply(
        200, json.dumps(active if "opaque-token" in request.body else {"active": False})
    )
    tokens = issuer.access_tokens(
        introspection_uri=f"{issuer.url}/introspect", introspection_client_id="api", introspection_client_secret="s"
    )
    assert tokens.verify(get("opaque-token"), "orders.read").client_id == "billing"
    assert asyncio.run(tokens.verify_async(get("opaque-token-2"))).client_id == "billing"
    assert rejection(lambda: tokens.verify("other")).reason == Reason.TOKEN_INACTIVE


def bound_request(issuer: HttpIssuer, proof: str | None = None, **members: Any) -> HttpRequest:
    token = issuer.token(cnf={"jkt": thumbprint(dpop_proofs.public_jwk())})
    if proof is None:
        ath = encode(sha256(token.encode()).digest())
        now = int(time.time())
        claims = {"htm": "GET", "htu": f"{RESOURCE}/orders", "ath": ath, "jti": str(uuid4())}
        proof = dpop_proofs.proof(**claims | {"now": now} | members)
    return HttpRequest("GET", "/v1/orders", [("Authorization", f"DPoP {token}"), ("DPoP", proof)])


def dpop_tokens(issuer: HttpIssuer) -> AccessTokens:
    return issuer.access_tokens(proof_of_possession=["dpop"], replays_in_memory=True, resource=RESOURCE)


def test_proof_is_valid_once(issuer: HttpIssuer) -> None:
    tokens = dpop_tokens(issuer)
    request = bound_request(issuer)
    assert tokens.verify(request).confirmation
    error = rejection(lambda: tokens.verify(request))
    assert (error.reason, error.status, error.error) == (Reason.PROOF_USED, 401, "invalid_dpop_proof")


def test_proof_for_another_url_is_rejected_with_a_dpop_challenge(issuer: HttpIssuer) -> None:
    tokens = dpop_tokens(issuer)
    error = rejection(lambda: tokens.verify(bound_request(issuer, htu="https://evil.example/v1/orders")))
    assert error.reason == Reason.HTU_OTHER
    challenge = error.headers["WWW-Authenticate"]
    algorithms = " ".join(sorted(PROOF_ALGORITHMS))
    assert challenge == f'DPoP algs="{algorithms}", error="invalid_dpop_proof", Bearer'


def test_bound_token_without_its_proof_is_rejected(issuer: HttpIssuer) -> None:
    tokens = dpop_tokens(issuer)
    bound = issuer.token(cnf={"jkt": thumbprint(dpop_proofs.public_jwk())})
    error = rejection(lambda: tokens.verify(bound))
    assert error.reason == Reason.PROOF_REQUIRED
    assert error.headers["WWW-Authenticate"].count('error="invalid_token"') == 2
    assert rejection(lambda: issuer.access_tokens().verify(get(bound))).reason == Reason.PROOF_REQUIRED


@pytest.mark.parametrize(
    ("path", "decoded"),
    [("/v1/orders", False), ("/orders", False), ("/v1/orders", True)],
    ids=["whole path", "proxy removes the prefix", "decoded by the server"],
)
def test_url_of_a_request_comes_from_the_resource(issuer: HttpIssuer, path: str, decoded: bool) -> None:
    request = bound_request(issuer)._replace(path=path, path_was_decoded=decoded)
    assert dpop_tokens(issuer).verify(request).confirmation


CERTIFICATE = certificate_pem()
DER = "".join(CERTIFICATE.splitlines()[1:-1])


def certificate_bound(issuer: HttpIssuer) -> str:
    return issuer.token(cnf={"x5t#S256": encode(sha256(b64decode(DER)).digest())})


@pytest.mark.parametrize("value", [quote(CERTIFICATE), quote(CERTIFICATE, safe="+=/"), f":{DER}:"])
def test_certificate_of_the_trusted_header_proves_the_key(issuer: HttpIssuer, value: str) -> None:
    tokens = issuer.access_tokens(proof_of_possession=["mtls"], certificate_header="X-Amzn-Mtls-Clientcert-Leaf")
    assert tokens.verify(get(certificate_bound(issuer), ("x-amzn-mtls-clientcert-leaf", value))).confirmation


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], Reason.CERTIFICATE_MISSING),
        (["%"], Reason.CERTIFICATE_MALFORMED),
        ([quote(CERTIFICATE)] * 2, Reason.CERTIFICATE_MALFORMED),
        ([quote(CERTIFICATE) * 2], Reason.CERTIFICATE_MALFORMED),
        ([quote(certificate_pem(key="another"))], Reason.CERTIFICATE_OTHER),
    ],
)
def test_other_certificate_headers_are_rejected(issuer: HttpIssuer, values: list[str], reason: Reason) -> None:
    tokens = issuer.access_tokens(proof_of_possession=["mtls"], certificate_header="client-cert")
    request = get(certificate_bound(issuer), *(("client-cert", value) for value in values))
    assert rejection(lambda: tokens.verify(request)).reason == reason


def test_certificate_header_is_ignored_unless_it_is_configured(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens(proof_of_possession=["mtls"])
    request = get(certificate_bound(issuer), ("client-cert", quote(CERTIFICATE)))
    assert rejection(lambda: tokens.verify(request)).reason == Reason.CERTIFICATE_MISSING


def test_package_has_only_its_public_names() -> None:
    assert authorizer.AccessTokens is AccessTokens
    with pytest.raises(AttributeError):
        authorizer.nothing  # type: ignore[attr-defined]  # noqa: B018 - the access itself


def test_space_before_a_token_is_not_ignored(issuer: HttpIssuer) -> None:
    tokens = issuer.access_tokens()
    assert rejection(lambda: tokens.verify(f" {issuer.token()}")).reason == Reason.SEGMENT_WHITESPACE


def test_revoked_token_is_rejected(issuer: HttpIssuer, dynamodb: DynamoDBClient) -> None:
    tokens = issuer.access_tokens(deny_list_table=STATE_TABLE)
    revoked, active = issuer.token(jti="revoked"), issuer.token(jti="active")
    JwtDenyList(AwsClient(3), STATE_TABLE).add(revocation_key(issuer.url, "revoked", revoked), int(time.time()) + 600)
    assert asyncio.run(tokens.verify_async(active)).jti == "active"
    assert rejection(lambda: tokens.verify(revoked)).reason == Reason.TOKEN_REVOKED
    assert rejection(lambda: asyncio.run(tokens.verify_async(revoked))).reason == Reason.TOKEN_REVOKED


def test_proof_is_valid_once_for_all_processes_with_a_table(issuer: HttpIssuer, dynamodb: DynamoDBClient) -> None:
    first, second = (
        issuer.access_tokens(proof_of_possession=["dpop"], replay_table=STATE_TABLE, resource=RESOURCE) for _ in "12"
    )
    request = bound_request(issuer)
    assert asyncio.run(first.verify_async(request)).confirmation
    assert rejection(lambda: second.verify(request)).reason == Reason.PROOF_USED


@pytest.mark.usefixtures("no_aws")
def test_unavailable_table_is_503(issuer: HttpIssuer) -> None:
    dpop = issuer.access_tokens(proof_of_possession=["dpop"], replay_table=STATE_TABLE, resource=RESOURCE)
    assert rejection(lambda: dpop.verify(bound_request(issuer))).reason == Reason.PROOF_STORE_UNAVAILABLE
    deny_list = issuer.access_tokens(deny_list_table=STATE_TABLE)
    error = rejection(lambda: asyncio.run(deny_list.verify_async(issuer.token())))
    assert (error.reason, error.status) == (Reason.DENY_LIST_UNAVAILABLE, 503)


def test_synchronous_use_imports_no_event_loop() -> None:
    code = "import sys; from authorizer import AccessTokens; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Hostile input

texts = st.text(max_size=40)
names = st.one_of(st.sampled_from(["Authorization", "DPoP", "client-cert", "authorization"]), texts)
values = st.one_of(st.sampled_from(["Bearer ", "DPoP a", "Bearer eyJ.e.y"]), texts)
event_members = st.one_of(
    st.sampled_from(["type", "authorizationToken", "headers", "multiValueHeaders", "authorization", "requestContext"]),
    st.sampled_from(["queryStringParameters", "identity", "clientCert", "http", "path", "elb", "version"]),
    texts,
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(event_members, inner, max_size=4)),
    max_leaves=12,
)
STRICT = AccessTokens(
    issuer="https://issuer.example",
    audience="a",
    jwks_uri="https://127.0.0.1:9/",  # unavailable: a token with a plausible issuer is 503
    proof_of_possession=["dpop", "mtls"],
    replays_in_memory=True,
    resource=RESOURCE,
    certificate_header="client-cert",
)


@given(st.lists(st.tuples(names, values), max_size=4), texts, texts, texts)
def test_hostile_requests_are_rejected(headers: list[tuple[str, str]], method: str, path: str, query: str) -> None:
    error = rejection(lambda: STRICT.verify(HttpRequest(method, path, headers, query)))
    assert error.status in {400, 401}


@given(st.dictionaries(event_members, json_values, max_size=5))
def test_hostile_events_are_rejected(event: dict[str, object]) -> None:
    assert rejection(lambda: STRICT.verify(event)).status in {400, 401}


@given(texts)
def test_hostile_texts_are_rejected(text: str) -> None:
    assert rejection(lambda: STRICT.verify(text)).status in {400, 401}


def test_rejection_is_logged_with_its_reason_and_expected_values(
    issuer: HttpIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    other = "https://other.example"
    tokens = issuer.access_tokens(other_issuers={other: {"audience": [AUDIENCE]}})
    caplog.set_level(logging.INFO, "gatehouse")
    rejection(lambda: tokens.verify(issuer.token(aud="https://third.example")))
    assert caplog.messages == [f"aud_other: expected issuer {issuer.url} or {other}, audience {AUDIENCE}"]


def test_log_line_of_an_unavailable_key_set_has_the_url_and_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    with answers_server() as server:
        issuer = HttpIssuer(server)
        server.answers[JWKS_PATH] = Reply(500)
        failing, token = issuer.access_tokens(), issuer.token()
        assert rejection(lambda: failing.verify(token)).reason == Reason.KEY_SET_UNAVAILABLE
        rejection(lambda: failing.verify(token))
        stopped = issuer.access_tokens(jwks_cool_down=31)
    rejection(lambda: stopped.verify(token))
    url, expected = (
        f"{issuer.url}{JWKS_PATH.removeprefix('GET ')}",
        f"expected issuer {issuer.url}, audience {AUDIENCE}",
    )
    status, paused, refused = caplog.messages
    assert status == f"key_set_unavailable: status 500; {expected}, key set {url}"
    assert paused.startswith("key_set_unavailable: no request is sent shortly after a failed one;")
    assert refused == f"key_set_unavailable: ConnectionRefusedError from {url}; {expected}, key set {url}"
