import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_secrets import SecretVerifier
from infra.cli.client_imports import FORMATS, Draft, read_hydra, read_spring
from infra.cli.errors import UsageError
from tests.support.cli import CommandLine
from tests.support.server import NOW, client

COGNITO: dict[str, Any] = {
    "UserPoolId": "eu-west-1_Example",
    "ClientName": "batch",
    "ClientId": "1example23456789",
    "ClientSecret": "9example87654321",
    "AccessTokenValidity": 30,
    "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes"},
    "AllowedOAuthFlows": ["client_credentials"],
    "AllowedOAuthScopes": ["https://api.example/read", "https://api.example/write"],
    "AllowedOAuthFlowsUserPoolClient": True,
}
_TYPE = "org.springframework.security.oauth2"
SPRING: dict[str, Any] = {
    "id": "1",
    "client_id": "batch",
    "client_id_issued_at": "2023-05-14 00:00:01",
    "client_secret": "{noop}spring-secret",
    "client_secret_expires_at": None,
    "client_name": "Batch",
    "client_authentication_methods": "client_secret_basic",
    "authorization_grant_types": "client_credentials",
    "redirect_uris": "",
    "scopes": "country.read,customer.read",
    "client_settings": json.dumps(
        {"@class": "java.util.Collections$UnmodifiableMap", "settings.client.require-proof-key": False}
    ),
    "token_settings": json.dumps(
        {
            "@class": "java.util.Collections$UnmodifiableMap",
            "settings.token.access-token-time-to-live": ["java.time.Duration", 900.000000000],
            "settings.token.access-token-format": {
                "@class": f"{_TYPE}.server.authorization.settings.OAuth2TokenFormat",
                "value": "self-contained",
            },
        }
    ),
}
HYDRA: dict[str, Any] = {
    "client_id": "7b0d9b5e-0000-4000-8000-000000000000",
    "client_name": "Batch",
    "client_secret": "hydra-secret",
    "client_secret_expires_at": 0,
    "grant_types": ["client_credentials"],
    "scope": "country.read customer.read",
    "audience": [],
    "token_endpoint_auth_method": "client_secret_post",
    "access_token_strategy": "jwt",
    "client_credentials_grant_access_token_lifespan": "1h30m0s",
    "metadata": {},
}
KEYCLOAK: dict[str, Any] = {
    "clientId": "batch",
    "name": "Batch",
    "enabled": True,
    "clientAuthenticatorType": "client-secret",
    "secret": "keycloak-secret",
    "serviceAccountsEnabled": True,
    "publicClient": False,
    "attributes": {"access.token.lifespan": "900", "access.token.signed.response.alg": "PS256"},
    "protocolMappers": [
        {
            "name": "api",
            "protocolMapper": "oidc-audience-mapper",
            "config": {"included.custom.audience": "https://api.example", "access.token.claim": "true"},
        },
        {
            "name": "address",
            "protocolMapper": "oidc-usersessionmodel-note-mapper",
            "config": {"user.session.note": "clientAddress", "claim.name": "clientAddress"},
        },
    ],
    "defaultClientScopes": ["web-origins", "roles", "country.read"],
    "optionalClientScopes": ["offline_access", "customer.read"],
}
KEY = {"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256"} | {
    "x": "BphC_C8l5Guynv8AAghxOxL99NKuXCOSzbvIFNT48wU",
    "y": "_ZnDnDXBZ5ghMEkT_3oDXucF8olYhc7n3bwejbxAFaw",
}


def _claim(name: str, value: str, label: str = "String", **more: str) -> dict[str, Any]:
    config = {"claim.name": name, "claim.value": value, "jsonType.label": label, "access.token.claim": "true", **more}
    return {"name": name, "protocolMapper": "oidc-hardcoded-claim-mapper", "config": config}


EXAMPLES = {"cognito": COGNITO, "keycloak": KEYCLOAK, "spring": SPRING, "hydra": HYDRA}


def drafted(kind: str, **changes: object) -> Draft:
    (draft,) = FORMATS[kind](json.dumps({**EXAMPLES[kind], **changes}), "the export")
    draft.finished()
    return draft


def imported(draft: Draft) -> Client:
    carried = draft.finished()
    assert carried is not None, draft.refusal
    return carried


@pytest.mark.parametrize(
    ("kind", "secret", "lifetime"),
    [
        ("cognito", "9example87654321", 1800),
        ("keycloak", "keycloak-secret", 900),
        ("spring", "spring-secret", 900),
        ("hydra", "hydra-secret", 5400),
    ],
)
def test_secret_of_a_machine_client_is_imported(kind: str, secret: str, lifetime: int) -> None:
    draft = drafted(kind)
    carried = imported(draft)
    assert draft.lost == []
    assert draft.secret is not None
    assert SecretVerifier().verify(secret, [draft.secret], NOW).is_imported
    assert carried.client_id in EXAMPLES[kind].values()
    assert carried.token_lifetime == lifetime
    assert len(carried.scopes) == 2
    assert carried.token_format is TokenFormat.JWT


def test_keycloak_hard_coded_claims_and_audience_are_imported() -> None:
    mappers = [
        *KEYCLOAK["protocolMappers"],
        _claim("tenant", "blue"),
        _claim("level", "1", "int"),
        _claim("trusted", "true", "boolean"),
        _claim("teams", '["a"]', "JSON"),
        _claim("shop.region", "eu"),
        _claim(r"shop\.name", "x"),
        _claim("only-id-token", "x", **{"access.token.claim": "false"}),
    ]
    carried = imported(drafted("keycloak", protocolMappers=mappers))
    assert carried.claims == {
        "tenant": "blue",
        "level": 1,
        "trusted": True,
        "teams": ["a"],
        "shop": {"region": "eu"},
        "shop.name": "x",
    }
    assert (carried.audience, carried.token_profile) == (("https://api.example",), "at+jwt")
    assert (carried.default_scopes, carried.signing_algorithm) == (("country.read",), "PS256")


def test_keycloak_realm_export_has_its_own_clients_and_scopes() -> None:
    realm = {
        "realm": "acme",
        "accessTokenLifespan": 600,
        "clientScopes": [
            {"name": "country.read", "protocolMappers": [_claim("region", "eu")]},
            {"name": "customer.read", "protocolMappers": [_claim("optional", "x")]},
        ],
        "clients": [{"clientId": "account"}, {**KEYCLOAK, "attributes": {}, "enabled": False}],
    }
    (draft,) = FORMATS["keycloak"](json.dumps(realm), "the export")
    carried = imported(draft)
    assert (carried.client_id, carried.disabled, carried.token_lifetime) == ("batch", True, 600)
    assert carried.claims == {"region": "eu"}


def test_keycloak_keys_and_bindings_are_imported() -> None:
    attributes = {
        "use.jwks.url": "true",
        "jwks.url": "https://client.example/jwks",
        "token.endpoint.auth.signing.alg": "ES256",
        "dpop.bound.access.tokens": "true",
    }
    carried = imported(drafted("keycloak", clientAuthenticatorType="client-jwt", attributes=attributes))
    assert carried.assertion == AssertionRules(
        jwks_uri="https://client.example/jwks", signing_alg="ES256", accepts_token_endpoint=True
    )
    assert carried.authentication_methods == {"private_key_jwt"}
    assert carried.dpop_bound_access_tokens


def test_cognito_scopes_become_default_scopes() -> None:
    carried = imported(drafted("cognito"))
    assert set(carried.default_scopes) == carried.scopes == set(COGNITO["AllowedOAuthScopes"])


@pytest.mark.parametrize(
    ("kind", "changes", "lost"),
    [
        (
            "cognito",
            {"AllowedOAuthScopes": ["openid", "https://api.example/read"]},
            "scopes of users are not supported: openid",
        ),
        ("cognito", {"ClientSecret": None}, "the export contains no ClientSecret"),
        (
            "spring",
            {"client_secret": "{bcrypt}$2a$10$example"},
            "the secret is a hash (bcrypt), which cannot be converted",
        ),
        ("spring", {"client_secret": "$2a$10$example"}, "the secret is a hash (unnamed), which cannot be converted"),
        ("spring", {"client_secret_expires_at": "next spring"}, "the secret, because its expiry cannot be read"),
        (
            "spring",
            {"authorization_grant_types": "refresh_token,client_credentials,authorization_code"},
            "grant types for users are not supported: refresh_token, authorization_code",
        ),
        (
            "spring",
            {"client_authentication_methods": "client_secret_jwt,client_secret_basic"},
            "authentication method client_secret_jwt is not supported",
        ),
        (
            "spring",
            {"client_authentication_methods": "private_key_jwt,client_secret_basic"},
            "private_key_jwt needs jwk-set-url, which is not set",
        ),
        (
            "spring",
            {"client_authentication_methods": "self_signed_tls_client_auth,client_secret_basic"},
            "self_signed_tls_client_auth needs the certificate: use create --certificate",
        ),
        (
            "spring",
            {
                "client_authentication_methods": "private_key_jwt",
                "client_settings": {
                    "settings.client.jwk-set-url": "https://client.example/jwks",
                    "settings.client.token-endpoint-authentication-signing-algorithm": "ES256K",
                },
            },
            "assertions signed with ES256K are not supported",
        ),
        (
            "hydra",
            {
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_signing_alg": "ES256K",
                "jwks_uri": "https://client.example/jwks",
            },
            "assertions signed with ES256K are not supported",
        ),
        ("keycloak", {"secret": "**********"}, "the export contains no secret"),
        ("keycloak", {"standardFlowEnabled": True}, "grant types for users are not supported: authorization_code"),
        (
            "keycloak",
            {"attributes": {"access.token.signed.response.alg": "HS256"}},
            "tokens signed with HS256 are not supported",
        ),
        ("keycloak", {"protocolMappers": []}, "no audience mapper: tokens get the profile plain"),
        (
            "keycloak",
            {"protocolMappers": [*KEYCLOAK["protocolMappers"], _claim("sub", "x")]},
            "the claim sub is reserved",
        ),
        (
            "keycloak",
            {"protocolMappers": [*KEYCLOAK["protocolMappers"], _claim("tenant", "x" * 2000)]},
            "hard-coded claims: The claims have 2013 bytes as JSON. The limit is 1024.",
        ),
        ("hydra", {"client_secret": None}, "Hydra exports no secrets"),
        (
            "hydra",
            {"client_secret": "$pbkdf2-sha256$i=25000,l=32$c2FsdA$aGFzaA"},
            "the secret is a hash, which cannot be converted",
        ),
        ("hydra", {"scope": "country.*"}, "scope patterns become exact scopes: country.*"),
        (
            "hydra",
            {"audience": ["https://api.example"]},
            "requests name their API in resource (RFC 8707), not in audience",
        ),
        ("hydra", {"audience": ["api"]}, "not an absolute URI and therefore not a resource: api"),
        ("hydra", {"access_token_strategy": ""}, "token format: imported as opaque, the default of Hydra"),
        (
            "hydra",
            {"client_credentials_grant_access_token_lifespan": "720h"},
            "token lifetime of 2592000 seconds becomes 86400",
        ),
        ("hydra", {"metadata": {"team": "a"}}, "metadata is not supported"),
    ],
)
def test_lost_settings_are_listed(kind: str, changes: dict[str, Any], lost: str) -> None:
    draft = drafted(kind, **changes)
    assert draft.refusal == ""
    assert draft.lost == [lost]
    if lost.startswith("the secret"):
        assert draft.secret is None


@pytest.mark.parametrize(
    ("kind", "changes", "refusal"),
    [
        ("cognito", {"AllowedOAuthFlows": ["code"]}, "client credentials"),
        ("cognito", {"AllowedOAuthFlows": []}, "client credentials"),
        ("keycloak", {"serviceAccountsEnabled": False}, "client credentials grant is not allowed"),
        ("keycloak", {"publicClient": True}, "a public client does not authenticate"),
        ("keycloak", {"clientAuthenticatorType": "client-x509"}, "client authentication client-x509 is imported only"),
        ("spring", {"client_authentication_methods": "none"}, "no supported authentication method"),
        ("spring", {"client_authentication_methods": "tls_client_auth"}, "no supported authentication method"),
        ("spring", {"client_id": "x" * 129}, "not valid: "),
        ("hydra", {"token_endpoint_auth_method": "private_key_jwt"}, "lacks the client's keys"),
    ],
)
def test_unsupported_clients_are_left_out(kind: str, changes: dict[str, Any], refusal: str) -> None:
    draft = drafted(kind, **changes)
    assert draft.finished() is None
    assert refusal in draft.refusal


def test_spring_keys_and_names_are_imported() -> None:
    subject = r"1.2.840.113549.1.9.1=#160161,CN=\#batch\=1,2.5.4.97=#0c0150,o=Example"  # as Java writes it
    settings = {
        "settings.client.jwk-set-url": "https://client.example/jwks",
        "settings.client.token-endpoint-authentication-signing-algorithm": [
            f"{_TYPE}.jose.jws.SignatureAlgorithm",
            "ES256",
        ],
        "settings.client.x509-certificate-subject-dn": subject,
    }
    draft = drafted(
        "spring",
        client_secret=None,
        client_authentication_methods="private_key_jwt,tls_client_auth",
        client_settings=settings,
        token_settings={
            "settings.token.access-token-time-to-live": "PT1H",
            "settings.token.access-token-format": {"value": "reference"},
            "settings.token.x509-certificate-bound-access-tokens": True,
        },
    )
    carried = imported(draft)
    assert draft.lost == []
    assert carried.assertion == AssertionRules(
        jwks_uri="https://client.example/jwks", signing_alg="ES256", accepts_token_endpoint=True
    )
    assert carried.certificate_name == CertificateName(CertificateNameKind.SUBJECT_DN, subject)
    assert (carried.token_lifetime, carried.token_format) == (3600, TokenFormat.OPAQUE)
    assert carried.tls_client_certificate_bound_access_tokens


def test_spring_impossible_subject_is_listed() -> None:
    draft = drafted(
        "spring",
        client_authentication_methods="client_secret_basic,tls_client_auth",
        client_settings={"settings.client.x509-certificate-subject-dn": "CN=batch,2.5.4.5=#020101"},
    )
    assert draft.finished() is not None
    (lost,) = draft.lost
    assert "no certificate can match 'CN=batch,2.5.4.5=#020101'" in lost
    assert "DER tag is 2" in lost


def test_spring_csv_headers_ignore_case() -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, [name.upper() for name in SPRING])
    writer.writeheader()
    writer.writerow(
        {name.upper(): value for name, value in SPRING.items()} | {"CLIENT_SECRET_EXPIRES_AT": "2030-01-01 00:00:00"}
    )
    (draft,) = read_spring(file.getvalue(), "the export")
    assert draft.finished() is not None
    assert draft.secret is not None
    assert draft.secret.expires_at == 1_893_456_000


def test_hydra_page_with_keys_is_imported() -> None:
    encryption = {**KEY, "use": "enc", "alg": "ECDH-ES"}
    keyed = {
        **HYDRA,
        "client_id": "keyed",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [encryption, KEY]},
    }
    _, draft = read_hydra(json.dumps({"items": [HYDRA, keyed], "next_page_token": ""}), "the export")
    assertion = imported(draft).assertion
    assert assertion is not None
    assert list(assertion.key_set.keys) == ["1"]


@pytest.mark.parametrize("text", ["", "[}", '[{"name": "x"}]', "[1]", '{"ClientId": 1}', "name\nx\n", '"text"'])
@pytest.mark.parametrize("kind", FORMATS)
def test_wrong_format_is_rejected(kind: str, text: str) -> None:
    with pytest.raises(UsageError, match="The export"):
        list(FORMATS[kind](text, "The export"))


def test_impossible_value_is_not_repeated(gatehouse: CommandLine, tmp_path: Path) -> None:
    for kind, text in (
        ("cognito", '{"ClientId": "a", "ClientSecret": 5}'),
        ("cognito", '{"ClientId": "a", "AllowedOAuthFlows": 5}'),
        ("hydra", "[" * 100_000),
        ("spring", '[{"client_id": "a", "token_settings": {"access-token-time-to-live": 1e999}}]'),
        ("spring", f"client_id\n{'a' * 200_000}\n"),
    ):
        (tmp_path / "export").write_text(text)
        refused = gatehouse("clients", "import", kind, str(tmp_path / "export"), "--yes")
        assert (refused.code, refused.stdout) == (2, "")
        assert f"a value that the format {kind} does not have" in refused.stderr
    (tmp_path / "export").write_text("[}")
    refused = gatehouse("clients", "import", "hydra", str(tmp_path / "export"), "--yes")
    assert (refused.code, refused.stdout) == (2, "")
    assert "is not JSON: line 1, column 2" in refused.stderr


def test_import_prints_a_report(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client("known"), None)
    export, secrets = tmp_path / "export", tmp_path / "secrets"
    entries = [
        COGNITO,
        {**COGNITO, "ClientId": "lost", "ClientSecret": None},
        {**COGNITO, "ClientId": "known"},
        {**COGNITO, "ClientId": "web", "AllowedOAuthFlows": ["code"]},
    ]
    # As a shell's loop over describe-user-pool-client leaves them.
    export.write_text("\n".join(json.dumps({"UserPoolClient": each}) for each in entries))
    arguments = ("clients", "import", "cognito", str(export), "--new-secrets-to", str(secrets))
    assert gatehouse(*arguments, "--dry-run").code == 1
    assert (len(list(gatehouse.clients.list())), secrets.exists()) == (1, False)
    assert gatehouse(*arguments, answer="n\n").code == 1
    report = gatehouse(*arguments, "--yes", "--json")
    assert report.code == 1
    outcomes = {each["client_id"]: (each["outcome"], each["secret"]) for each in report.json["clients"]}
    assert outcomes == {
        "1example23456789": ("registered", "carried over"),
        "lost": ("registered", "new"),
        "known": ("left out: this client_id is taken", ""),
        "web": ("left out: client credentials grant is not allowed", ""),
    }
    assert secrets.stat().st_mode & 0o777 == 0o600
    new = json.loads(secrets.read_text())
    assert list(new) == ["lost"]
    for client_id, secret in (("1example23456789", COGNITO["ClientSecret"]), ("lost", new["lost"])):
        kept = gatehouse.clients.get(client_id).record.secrets
        SecretVerifier().verify(secret, kept, NOW)
        assert secret not in report.stdout + report.stderr
    assert gatehouse.clients.get("known").record == client("known")
    export.write_text(json.dumps([{**HYDRA, "client_secret": "$2a$10$example"}]))
    lost = gatehouse("clients", "import", "hydra", str(export), answer="y\n")
    assert (lost.code, "none yet" in lost.stdout) == (0, True)
    assert gatehouse.clients.get(HYDRA["client_id"]).record.secrets == ()


@pytest.mark.parametrize(
    ("kind", "changes", "lifetime"),
    [
        ("cognito", {"AccessTokenValidity": 0}, 3600),
        ("cognito", {"TokenValidityUnits": None, "AccessTokenValidity": 2}, 7200),
        ("spring", {"token_settings": "no JSON"}, 300),
        ("spring", {"token_settings": None}, 300),
        ("hydra", {"client_credentials_grant_access_token_lifespan": None}, 3600),
        ("hydra", {"client_credentials_grant_access_token_lifespan": "soon"}, 3600),
    ],
)
def test_default_lifetime_is_the_other_servers(kind: str, changes: dict[str, Any], lifetime: int) -> None:
    assert imported(drafted(kind, **changes)).token_lifetime == lifetime
