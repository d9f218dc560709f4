"""`gatehouse token get`, `introspect` and `revoke`: requests, output and exit codes."""

import json
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from authorizer.dpop import verify_proof
from functions.shared.keys.signing_keys import to_pem
from infra.cli.errors import UnreachableError
from infra.cli.http_client import Web
from infra.cli.tokens import SECRET_VARIABLE
from tests.support.answers_server import AnswersServer, ReceivedRequest, Reply, answers_server
from tests.support.cli import CommandLine, deploy
from tests.support.dpop_proofs import private_key, public_jwk
from tests.support.pyjwt_algorithms import ML_DSA_KEYS
from tests.support.server import NOW
from tests.support.tokens import encode

STAGE = "/ms-auth-server"
TOKEN = f"POST {STAGE}/oauth2/token"
INTROSPECT = f"POST {STAGE}/oauth2/introspect"
REVOKE = f"POST {STAGE}/oauth2/revoke"
METADATA = f"GET {STAGE}/.well-known/oauth-authorization-server"
SECRET = ("--secret-file", "secret")
GIVEN = {"access_token": "the-token", "token_type": "Bearer", "expires_in": 60, "scope": "a b"}
BASIC = "Basic " + b64encode(b"billing+%2F1:s%26cret").decode()


@pytest.fixture
def server(account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnswersServer]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("s&cret\n")
    (tmp_path / "token").write_text("the-token\n")
    with answers_server() as server:
        deploy(issuer=server.url + STAGE, guarded_api=f"{server.url}/ms-system")
        server.answers[TOKEN] = Reply(200, json.dumps(GIVEN))
        yield server


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key.pem"
    file.write_text(to_pem(ec.generate_private_key(ec.SECP256R1())))
    return file


def form(request: ReceivedRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body).items()}


def test_secret_is_sent_in_a_header(server: AnswersServer, cli: CommandLine) -> None:
    got = cli("token", "get", "billing /1", "--secret-file", "-", answer="s&cret\n")
    assert (got.code, got.stdout) == (0, "the-token\n")
    assert "Bearer token, expires in 1 min, scope a b." in got.stderr
    (request,) = server.received
    assert request.headers["Authorization"] == BASIC
    assert form(request) == {"grant_type": "client_credentials"}


def test_secret_prompt_does_not_echo(server: AnswersServer, cli: CommandLine) -> None:
    got = cli("token", "get", "billing", "--scope", "a", "--scope", "b", answer="s&cret\n")
    assert got.code == 0
    assert "s&cret" not in got.stdout + got.stderr
    assert form(server.received[0])["scope"] == "a b"


def test_environment_secret_is_sent_in_the_form(server: AnswersServer, cli: CommandLine) -> None:
    environ = {SECRET_VARIABLE: "s&cret", "GATEHOUSE_STACK": "gatehouse-test"}
    method = ("--method", "client_secret_post", "--resource", "https://api.example")
    got = cli("token", "get", "billing", *method, "--json", environ=environ)
    assert got.json == GIVEN
    assert form(server.received[0]) == {
        "grant_type": "client_credentials",
        "client_id": "billing",
        "client_secret": "s&cret",
        "resource": "https://api.example",
    }
    assert "Authorization" not in server.received[0].headers


RSA = rsa.generate_private_key(65_537, 2048)


@pytest.mark.parametrize(
    ("private_key", "options", "alg"),
    [
        (RSA, (), "RS256"),
        (RSA, ("--algorithm", "PS256"), "PS256"),
        (RSA, ("--algorithm", "RS512"), "RS512"),
        (ec.generate_private_key(ec.SECP256R1()), (), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), (), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), (), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), (), "EdDSA"),
        (ed25519.Ed25519PrivateKey.generate(), ("--algorithm", "Ed25519"), "Ed25519"),
        *((private_key(alg), (), alg) for alg in ML_DSA_KEYS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_client_key_signs_an_assertion(
    server: AnswersServer, cli: CommandLine, tmp_path: Path, private_key: Any, options: tuple[str, ...], alg: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(to_pem(private_key))
    command = ("token", "get", "billing", "--key", str(file), "--key-id", "one", *options)
    assert cli(*command).code == 0
    sent = form(server.received[0])
    assert sent["client_assertion_type"].endswith(":jwt-bearer")
    assertion = sent["client_assertion"]
    assert jwt.get_unverified_header(assertion) == {"typ": "client-authentication+jwt", "alg": alg, "kid": "one"}
    claims = jwt.decode(
        assertion,
        private_key.public_key(),
        algorithms=[alg],
        audience=server.url + STAGE,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["iss"], claims["sub"], claims["exp"]) == ("billing", "billing", NOW + 60)


@pytest.mark.parametrize("alg", ML_DSA_KEYS)
def test_rfc9964_jwk_signs_an_assertion(server: AnswersServer, cli: CommandLine, tmp_path: Path, alg: str) -> None:
    seed: Any = private_key(alg)
    document = {**public_jwk(alg), "priv": encode(seed.private_bytes_raw()), "kid": "own"}
    file = tmp_path / "key.json"
    file.write_text(json.dumps(document))
    assert cli("token", "get", "billing", "--key", str(file)).code == 0
    assertion = form(server.received[0])["client_assertion"]
    assert jwt.get_unverified_header(assertion) == {"typ": "client-authentication+jwt", "alg": alg, "kid": "own"}
    for changes, problem in (
        ({"priv": encode(bytes(32))}, "is not a supported JWK"),
        ({"priv": "?"}, "is not a supported JWK"),
        ({"alg": "ML-DSA-1"}, "is not a supported JWK"),
    ):
        file.write_text(json.dumps(document | changes))
        assert problem in cli("token", "get", "billing", "--key", str(file)).stderr
    file.write_text(json.dumps(public_jwk(alg)))
    assert "contains only a public key" in cli("token", "get", "billing", "--key", str(file)).stderr


def test_jwk_has_its_own_algorithm_and_key_id(server: AnswersServer, cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps({**RSAAlgorithm.to_jwk(RSA, as_dict=True), "alg": "PS384", "kid": "own"}))
    assert cli("token", "get", "billing", "--key", str(file)).code == 0
    header = jwt.get_unverified_header(form(server.received[0])["client_assertion"])
    assert (header["alg"], header["kid"]) == ("PS384", "own")


@pytest.mark.parametrize(("method", "kind"), [((), "jwt-bearer"), (("--method", "spiffe_jwt"), "jwt-spiffe")])
def test_workload_token_is_sent_unchanged(
    server: AnswersServer, cli: CommandLine, method: tuple[str, ...], kind: str
) -> None:
    got = cli("token", "get", "deploy", "--assertion-file", "-", *method, answer="e.y.J\n")
    assert got.code == 0
    sent = form(server.received[0])
    assert (sent["client_id"], sent["client_assertion"]) == ("deploy", "e.y.J")
    assert sent["client_assertion_type"] == f"urn:ietf:params:oauth:client-assertion-type:{kind}"


def test_token_is_exchanged_with_an_actor_token(server: AnswersServer, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("the-subject\n")
    (tmp_path / "actor").write_text("a.c.t\n")
    actor = ("--actor-token-file", str(tmp_path / "actor"))
    assert cli("token", "get", "billing", *actor, answer="secret\n").code == 2
    exchanged = ("--subject-token-file", str(tmp_path / "subject"), "--resource", "https://api.example", *actor)
    assert cli("token", "get", "billing", *exchanged, answer="secret\n").code == 0
    assert form(server.received[0]) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "the-subject",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "actor_token": "a.c.t",
        "actor_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "resource": "https://api.example",
    }


def test_nonce_is_sent_with_a_second_proof(server: AnswersServer, cli: CommandLine, key_file: Path) -> None:
    def with_nonce(request: ReceivedRequest) -> Reply:
        proof = verify_proof(request.headers["DPoP"], "POST", server.url + STAGE + "/oauth2/token", NOW)
        if proof.nonce != "fresh":
            return Reply(400, '{"error":"use_dpop_nonce"}', {"DPoP-Nonce": "fresh"})
        return Reply(200, json.dumps({**GIVEN, "token_type": "DPoP"}))

    server.answers[TOKEN] = with_nonce
    got = cli("token", "get", "billing", "--dpop-key", str(key_file), answer="secret\n")
    assert (got.code, got.stdout) == (0, "the-token\n")
    assert len(server.received) == 2


def test_dpop_key_is_created_once(server: AnswersServer, cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "dpop.pem"
    for _ in range(2):
        got = cli("token", "get", "billing", "--dpop-key", str(file), answer="secret\n")
        assert got.code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = {jwt.get_unverified_header(request.headers["DPoP"])["jwk"]["x"] for request in server.received}
    assert len(keys) == 1


def test_headers_are_printed_for_a_pipe(server: AnswersServer, cli: CommandLine) -> None:
    command = ("token", "get", "billing", "--dpop", "--headers", "--request", "get", "/a?b=c")
    lines = cli(*command, answer="secret\n").stdout.splitlines()
    assert lines[0] == "Authorization: DPoP the-token"
    name, _, proof = lines[1].partition(": ")
    assert name == "DPoP"
    checked = verify_proof(proof, "GET", f"{server.url}/ms-system/a", NOW)
    assert checked.ath is not None


def test_curl_line_has_no_token(server: AnswersServer, cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "some headers"
    command = ("token", "get", "billing", "--curl", str(file), "--request", "POST", "/a?b=c")
    got = cli(*command, answer="secret\n")
    assert got.stdout == (f"curl --request POST --header '@{file}' '{server.url}/ms-system/a?b=c'\n")
    assert file.read_text() == "Authorization: Bearer the-token\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = cli(*command, answer="secret\n")
    assert (again.code, "already exists" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("said", "code", "problem"),
    [
        (Reply(401, '{"error":"invalid_client","error_description":"No."}'), 1, "enabled"),
        (Reply(400, '{"error":"invalid_scope"}'), 1, "gatehouse clients show"),
        (Reply(503, '{"error":"temporarily_unavailable"}'), 4, "log line"),
        (Reply(302, "", {"Location": "https://elsewhere.example"}), 1, "returned 302"),
        (Reply(200, "<html>"), 4, "is not an OAuth response"),
        (Reply(200, "[" * 100_000), 4, "is not an OAuth response"),
        (Reply(200, '{"access_token":["a"]}'), 4, "is not an OAuth response"),
        (Reply(200, '{"access_token":"a\\u001b]0;owned\\u0007"}'), 4, "is not an OAuth response"),
        (Reply(200, '{"access_token":"a\\nX-Another: header"}'), 4, "is not an OAuth response"),
    ],
    ids=["client", "scope", "trouble", "redirect", "HTML", "depth", "list", "escape", "header"],
)
def test_rejection_has_a_next_step(
    server: AnswersServer, cli: CommandLine, said: Reply, code: int, problem: str
) -> None:
    server.answers[TOKEN] = said
    refused = cli("token", "get", "billing", answer="secret\n")
    assert (refused.code, refused.stdout) == (code, "")
    assert problem in refused.stderr


def test_token_response_may_have_any_members(server: AnswersServer, cli: CommandLine) -> None:
    odd = {"access_token": "the-token", "token_type": [1], "expires_in": "?", "scope": ["\x1b[2J"]}
    server.answers[TOKEN] = Reply(200, json.dumps(odd))
    got = cli("token", "get", "billing", answer="secret\n")
    assert (got.code, got.stdout) == (0, "the-token\n")
    assert "\x1b" not in got.stderr


def test_certificate_needs_a_mutual_tls_address(server: AnswersServer, cli: CommandLine, key_file: Path) -> None:
    for metadata, file, code, problem in (
        ({}, key_file, 1, "MtlsDomainName"),
        ({"token_endpoint": "file:///etc/hostname"}, key_file, 1, "MtlsDomainName"),
        ({"token_endpoint": "https://127.0.0.1:9/token"}, key_file, 2, "must not have a password"),
        ({"token_endpoint": "https://127.0.0.1:9/token"}, "nowhere", 3, "cannot be read"),
    ):
        server.answers[METADATA] = Reply(200, json.dumps({"mtls_endpoint_aliases": metadata} if metadata else {}))
        refused = cli("token", "get", "billing", "--certificate", str(file))
        assert (refused.code, problem in refused.stderr) == (code, True)


def test_invalid_options_send_nothing(server: AnswersServer, cli: CommandLine, key_file: Path, tmp_path: Path) -> None:
    locked, public, odd = (tmp_path / name for name in ("locked", "public", "odd"))
    private_key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(
        private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    public.write_text(json.dumps(ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)))
    odd.write_text(to_pem(ec.generate_private_key(ec.SECP256K1())))
    for options, said in (
        (("--method", "private_key_jwt"), "private_key_jwt needs --key"),
        (("--method", "federated_jwt"), "federated_jwt needs --assertion-file"),
        (("--method", "spiffe_jwt"), "spiffe_jwt needs --assertion-file"),
        (("--method", "spiffe_x509"), "spiffe_x509 needs --certificate"),
        (("--method", "tls_client_auth"), "tls_client_auth needs --certificate"),
        (("--headers", "--curl", "file"), "exclude each other"),
        (("--headers", "--json"), '"--headers, --curl and --json exclude each other."'),
        (("--key", str(locked)), "is encrypted"),
        (("--key", str(public)), "only a public key"),
        (("--key", str(odd)), "does not support any algorithm"),
        (("--key", str(key_file), "--algorithm", "RS256"), "It supports ES256"),
        (("--key", __file__), "does not contain a private key"),
    ):
        refused = cli("token", "get", "billing", *options, answer="secret\n")
        assert (refused.code, said in refused.stderr) == (2, True), options
    assert server.received == []
    refused = cli("token", "get", "billing", "--request", "GET", "a", answer="secret\n")
    assert (refused.code, "is not a path" in refused.stderr) == (2, True)


def test_file_url_is_rejected() -> None:
    with pytest.raises(UnreachableError, match="is not an HTTP URL"):
        Web().ask("GET", "file:///etc/hostname")


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_introspect_prints_the_response(server: AnswersServer, cli: CommandLine, source: str) -> None:
    response = {"active": True, "scope": "a", "client_id": "shop"}
    server.answers[INTROSPECT] = Reply(200, json.dumps(response))
    file = ("token",) if source == "file" else ()
    answer = "" if source == "file" else "the-token\n"
    seen = cli("token", "introspect", "billing", *file, *SECRET, answer=answer)
    assert (seen.code, seen.json) == (0, response)
    (request,) = server.received
    assert request.headers["Authorization"].startswith("Basic ")
    assert parse_qs(request.body) == {"token": ["the-token"]}


def test_introspect_reports_what_is_not_active(server: AnswersServer, cli: CommandLine) -> None:
    for response, code, problem in (
        ('{"active": false}', 1, "not visible to billing"),
        ('{"active": "true"}', 4, "is not an OAuth response"),
    ):
        server.answers[INTROSPECT] = Reply(200, response)
        seen = cli("token", "introspect", "billing", "token", *SECRET)
        assert (seen.code, problem in seen.stderr) == (code, True)
        assert seen.stdout == ('{\n  "active": false\n}\n' if code == 1 else "")


def test_revoke_sends_the_token_as_its_client(server: AnswersServer, cli: CommandLine) -> None:
    server.answers[REVOKE] = Reply(200, "{}")
    method = ("--method", "client_secret_post")
    revoked = cli("token", "revoke", "billing", "token", *method, *SECRET, "--json")
    assert (revoked.code, revoked.json) == (0, {"client_id": "billing", "revoked": True})
    (request,) = server.received
    assert parse_qs(request.body) == {"client_id": ["billing"], "client_secret": ["s&cret"], "token": ["the-token"]}
    shown = cli("token", "revoke", "billing", "token", *SECRET)
    assert (shown.stdout, "CheckRevokedTokens" in shown.stderr) == ("Token revoked.\n", True)


@pytest.mark.parametrize("command", ["introspect", "revoke"])
def test_an_error_response_is_reported(server: AnswersServer, cli: CommandLine, command: str) -> None:
    for said, code, message in (
        (Reply(401, '{"error":"invalid_client"}'), 1, "endpoint returned 401 invalid_client."),
        (Reply(503, '{"error":"temporarily_unavailable"}'), 4, "returned 503"),
    ):
        server.answers[INTROSPECT] = server.answers[REVOKE] = said
        refused = cli("token", command, "billing", "token", *SECRET)
        assert (refused.code, refused.stdout, message in refused.stderr) == (code, "", True)


@pytest.mark.parametrize("command", ["introspect", "revoke"])
def test_token_and_secret_cannot_share_stdin(server: AnswersServer, cli: CommandLine, command: str) -> None:
    refused = cli("token", command, "billing", "--secret-file", "-", answer="x\n")
    assert (refused.code, "Only one value can be read from stdin" in refused.stderr) == (2, True)
    assert server.received == []


def test_certificate_uses_the_mutual_tls_alias(server: AnswersServer, cli: CommandLine) -> None:
    alias = {"mtls_endpoint_aliases": {"introspection_endpoint": "https://127.0.0.1:9/i"}}
    server.answers[METADATA] = Reply(200, json.dumps(alias))
    options = ("--certificate", "secret")
    refused = cli("token", "introspect", "billing", "token", *options)
    assert (refused.code, "certificate or key cannot be used" in refused.stderr) == (2, True)
    refused = cli("token", "revoke", "billing", "token", *options)
    assert (refused.code, "MtlsDomainName" in refused.stderr) == (1, True)
