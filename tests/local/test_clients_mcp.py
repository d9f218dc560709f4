"""The official MCP SDKs, unmodified, against the laptop and the MCP server of docs/examples/mcp."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import jwt
import pytest
import requests
from httpx2 import AsyncClient, Auth
from mcp.client import Client
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken

from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.client import TokenProfile
from functions.shared.clients.supported import FEDERATED_JWT, JWT_BEARER, PRIVATE_KEY_JWT
from functions.shared.clients.trust_rule import FederatedClient, GrantProfile, TrustRule, to_item
from functions.shared.keys.signing_keys import to_pem
from local.gateway import model
from local.http_server import Server
from tests.support.assertions import assertion
from tests.support.doc_blocks import blocks, commands
from tests.support.laptop import ROOT, Laptop, aws_client, serving
from tests.support.server import SECRET, client
from tests.support.tokens import ec_jwk, ec_key, rsa_jwk

NODE = Path(__file__).with_name("node")
TOOLS = ["list_customers", "add_customer"]
CALLS: dict[str, dict[str, str]] = {"list_customers": {}, "add_customer": {"name": "Grace"}}
BOTH_SCOPES = "customer.read customer.write"
ID_JAG_CLIENT: dict[str, Any] = {"grant_types": frozenset({JWT_BEARER}), "token_profile": TokenProfile.AT_JWT}


class MemoryStorage(TokenStorage):
    """Tokens of one client, in memory, and the scopes of each that it got."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.scopes: list[str | None] = []

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.scopes.append(tokens.scope)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("a registered client does not register")


def register(laptop: Laptop, resource: str, **changes: Any) -> str:
    """Register a client whose tokens are for the MCP server; return its id."""
    client_id = f"mcp-{uuid4()}"
    laptop.clients.put(client(client_id, audience=(resource,), **changes))
    return client_id


async def _call_tools(url: str, provider: Auth, calls: dict[str, dict[str, str]]) -> dict[str, str]:
    results = {}
    async with AsyncClient(auth=provider) as http, Client(streamable_http_client(url, http_client=http)) as session:
        assert [tool.name for tool in (await session.list_tools()).tools] == TOOLS
        for name, arguments in calls.items():
            (content,) = (await session.call_tool(name, arguments)).content
            results[name] = str(getattr(content, "text", ""))
    return results


def signing_client(laptop: Laptop, resource: str) -> tuple[str, str]:
    """Register a client that signs its assertions; return its id and its private key as PEM."""
    methods, rules = frozenset({PRIVATE_KEY_JWT}), AssertionRules(jwks=json.dumps({"keys": [ec_jwk()]}))
    client_id = register(laptop, resource, authentication_methods=methods, secrets=(), assertion=rules)
    return client_id, to_pem(ec_key("ec"))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", PRIVATE_KEY_JWT])
def test_python_sdk_steps_up_to_the_scope_of_a_tool(laptop: Laptop, mcp_server: str, method: Any) -> None:
    issuer, storage = laptop.addresses.issuer, MemoryStorage()
    provider: Auth
    if method == PRIVATE_KEY_JWT:
        client_id, key = signing_client(laptop, mcp_server)
        signed = SignedJWTParameters(issuer=client_id, subject=client_id, signing_key=key, signing_algorithm="ES256")
        assertions = signed.create_assertion_provider()
        provider = PrivateKeyJWTOAuthProvider(mcp_server, storage, client_id, assertions, issuer=issuer)
    else:
        client_id = register(laptop, mcp_server)
        provider = ClientCredentialsOAuthProvider(mcp_server, storage, client_id, SECRET, method, issuer=issuer)
    results = asyncio.run(_call_tools(mcp_server, provider, CALLS))
    assert results["list_customers"].startswith("Ada")
    assert results["add_customer"] == "Grace was added."
    assert storage.scopes == ["customer.read", BOTH_SCOPES]


# Enterprise-managed authorization: an ID-JAG of the identity provider


@dataclass
class IdentityProvider:
    """An identity provider that exchanges ID tokens for ID-JAGs (RFC 8693)."""

    origin: str = ""
    client_id: str = ""
    resources: list[str] = field(default_factory=list)

    def handle(self, request: model.Request) -> model.Response:
        content: object = {"keys": [rsa_jwk("idp")]}
        if request.path == "/.well-known/openid-configuration":
            content = {"issuer": self.origin, "jwks_uri": f"{self.origin}/jwks"}
        elif request.path == "/token":
            form = dict(parse_qsl((request.body or b"").decode()))
            assert form["requested_token_type"] == "urn:ietf:params:oauth:token-type:id-jag"
            content = {
                "access_token": self.id_jag(form["audience"], form["resource"], form.get("scope")),
                "issued_token_type": form["requested_token_type"],
                "token_type": "N_A",
            }
        headers = (("Content-Type", "application/json"),)
        return model.Response(200, headers, json.dumps(content).encode())

    def too_large(self, request: model.Request) -> model.Response:
        return model.Response(413)

    def id_jag(self, audience: str, resource: str, scope: str | None = None) -> str:
        self.resources.append(resource)
        now = int(time.time())
        claims = {
            "iss": self.origin,
            "sub": "ada@example",
            "aud": audience,
            "client_id": self.client_id,
            "resource": resource,
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + 300,
            **({"scope": scope} if scope else {}),
        }
        return assertion(claims, alg="RS256", kid="idp", typ="oauth-id-jag+jwt")

    def workload_token(self, audience: str) -> str:
        now = int(time.time())
        claims = {"iss": self.origin, "sub": "workload:agent", "aud": audience, "iat": now, "exp": now + 300}
        return assertion(claims, alg="RS256", kid="idp")


def put_trust(laptop: Laptop, entry: TrustRule | FederatedClient) -> None:
    dynamodb = aws_client(laptop.addresses.aws_port, "dynamodb")
    dynamodb.put_item(TableName="gatehouse-TrustTable", Item=to_item(entry))


@pytest.fixture
def identity_provider(laptop: Laptop, mcp_server: str) -> Iterator[IdentityProvider]:
    """An identity provider that a trust rule accepts for a client of the MCP server."""
    provider = IdentityProvider()
    with Server("127.0.0.1", 0) as server:
        provider.origin = f"http://localhost:{server.port}"
        server.open(provider)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        provider.client_id = register(laptop, mcp_server, **ID_JAG_CLIENT)
        rule = TrustRule(
            name="enterprise", issuer=provider.origin, client_id=provider.client_id, profile=GrantProfile.ID_JAG
        )
        put_trust(laptop, rule)
        yield provider
        server.shutdown()
        thread.join()


def test_python_sdk_presents_an_id_jag(laptop: Laptop, mcp_server: str, identity_provider: IdentityProvider) -> None:
    issuer, storage = laptop.addresses.issuer, MemoryStorage()

    async def id_jag(audience: str, resource: str) -> str:
        return identity_provider.id_jag(audience, resource)

    provider = IdentityAssertionOAuthProvider(
        mcp_server, storage, identity_provider.client_id, SECRET, issuer, id_jag, "customer.read"
    )
    results = asyncio.run(_call_tools(mcp_server, provider, CALLS))
    assert results["add_customer"] == "Grace was added."
    assert storage.scopes == ["customer.read", BOTH_SCOPES]
    assert identity_provider.resources == [mcp_server, mcp_server]
    assert storage.tokens is not None
    claims = jwt.decode(storage.tokens.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"]) == ("ada@example", identity_provider.client_id)


def test_typescript_sdk_exchanges_an_id_token_for_an_id_jag(
    packages: Path, laptop: Laptop, mcp_server: str, identity_provider: IdentityProvider
) -> None:
    context = {
        "client_id": identity_provider.client_id,
        "client_secret": SECRET,
        "idp_client_id": "agent",
        "idp_id_token": "an ID token",
        "idp_token_endpoint": f"{identity_provider.origin}/token",
    }
    results = typescript_sdk(packages, laptop, mcp_server, context)
    assert results["add_customer"] == "Grace was added."
    assert set(identity_provider.resources) == {mcp_server}


@pytest.mark.parametrize("language", ["Python", "TypeScript"])
def test_sdk_authenticates_with_a_workload_token(
    packages: Path, laptop: Laptop, mcp_server: str, identity_provider: IdentityProvider, language: str
) -> None:
    issuer, storage = laptop.addresses.issuer, MemoryStorage()
    rule = FederationRule(issuer=identity_provider.origin, audience=issuer, subject="workload:agent")
    methods = frozenset({FEDERATED_JWT})
    client_id = register(laptop, mcp_server, authentication_methods=methods, secrets=(), federation=(rule,))
    # Neither SDK sends client_id with an assertion: the client is found by issuer and subject.
    put_trust(laptop, FederatedClient(identity_provider.origin, client_id, (rule,)))
    if language == "TypeScript":
        context = {"client_id": client_id, "client_assertion": identity_provider.workload_token(issuer)}
        results = typescript_sdk(packages, laptop, mcp_server, context)
    else:

        async def workload_token(audience: str) -> str:
            return identity_provider.workload_token(audience)

        provider = PrivateKeyJWTOAuthProvider(mcp_server, storage, client_id, workload_token, issuer=issuer)
        results = asyncio.run(_call_tools(mcp_server, provider, CALLS))
    assert results["add_customer"] == "Grace was added."


def test_id_jag_for_another_server_or_client_is_refused(
    laptop: Laptop, mcp_server: str, identity_provider: IdentityProvider
) -> None:
    issuer, stranger = laptop.addresses.issuer, register(laptop, mcp_server, **ID_JAG_CLIENT)
    valid = identity_provider.id_jag(issuer, mcp_server)
    attempts = {
        "another audience": (
            identity_provider.client_id,
            identity_provider.id_jag("https://other.example", mcp_server),
        ),
        "another resource": (identity_provider.client_id, identity_provider.id_jag(issuer, "https://other.example")),
        "another client": (stranger, valid),
        "valid": (identity_provider.client_id, valid),
        "replayed": (identity_provider.client_id, valid),
    }
    errors = {}
    for name, (client_id, id_jag) in attempts.items():
        form = {"grant_type": JWT_BEARER, "assertion": id_jag, "resource": mcp_server, "scope": "customer.read"}
        answer = requests.post(f"{issuer}/oauth2/token", form, auth=(client_id, SECRET), timeout=10)
        errors[name] = answer.json().get("error")
    assert errors == {
        "another audience": "invalid_grant",
        "another resource": "invalid_target",
        "another client": "invalid_grant",
        "valid": None,
        "replayed": "invalid_grant",
    }


def test_agent_of_the_example_prints_the_shown_lines(laptop: Laptop, mcp_server: str) -> None:
    shown = next(
        command.output
        for block in blocks(ROOT / "docs" / "agents.md")
        for command in (commands(block) if block.kind == "console" else ())
        if "agent.py" in command.text
    )
    environ = laptop.environ | {"CLIENT_ID": register(laptop, mcp_server), "CLIENT_SECRET": SECRET}
    command = [sys.executable, "docs/examples/mcp/agent.py", mcp_server, laptop.addresses.issuer]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60)
    # Earlier calls may have added customers.
    assert re.sub(r"(: Ada).*", r"\1", result.stdout).splitlines() == list(shown)


def test_client_without_the_tools_scope_is_refused(laptop: Laptop, mcp_server: str) -> None:
    client_id, storage = register(laptop, mcp_server, scopes=frozenset({"customer.read"})), MemoryStorage()
    issuer = laptop.addresses.issuer
    provider = ClientCredentialsOAuthProvider(mcp_server, storage, client_id, SECRET, issuer=issuer)
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(_call_tools(mcp_server, provider, {"add_customer": {"name": "Mallory"}}))
    assert "invalid_scope" in str(_leaf(raised.value))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def typescript_sdk(packages: Path, laptop: Laptop, url: str, context: dict[str, str]) -> dict[str, Any]:
    """Run the program that the conformance suite runs, too."""
    variables = {
        "MCP_CONFORMANCE_CONTEXT": json.dumps(context),
        "MCP_EXPECTED_ISSUER": laptop.addresses.issuer,
        "MCP_TOOLS": json.dumps(CALLS),
    }
    command = ["node", "mcp.mjs", url]
    environ = {**laptop.environ, **variables}
    result = subprocess.run(command, cwd=packages, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    results: dict[str, Any] = json.loads(result.stdout)
    return results


@pytest.mark.parametrize("method", ["client_secret_basic", PRIVATE_KEY_JWT])
def test_typescript_sdk_steps_up_to_the_scope_of_a_tool(
    packages: Path, laptop: Laptop, mcp_server: str, method: str
) -> None:
    if method == PRIVATE_KEY_JWT:
        client_id, key = signing_client(laptop, mcp_server)
        context = {"client_id": client_id, "private_key_pem": key, "signing_algorithm": "ES256"}
    else:
        context = {"client_id": register(laptop, mcp_server), "client_secret": SECRET}
    results = typescript_sdk(packages, laptop, mcp_server, context)
    assert results["tools"] == TOOLS
    assert results["add_customer"] == "Grace was added."


def test_conformance_suite_passes_the_same_program(packages: Path) -> None:
    suite = ["node", "--import", "./node22-fs.mjs", "node_modules/.bin/conformance", "client"]
    command = [*suite, "--command", "node mcp.mjs", "--suite", "extensions"]
    result = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout
    for scenario in ("client-credentials-jwt", "client-credentials-basic", "cross-app-access-complete-flow"):
        assert f"✓ auth/{scenario}: " in result.stdout
    assert ", 0 failed, 0 warnings" in result.stdout


def token(laptop: Laptop, client_id: str, scope: str, resource: str) -> str:
    form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
    answer = requests.post(laptop.token_endpoint, form, auth=(client_id, SECRET), timeout=10)
    return str(answer.json()["access_token"])


def call_tool(url: str, access_token: str, name: str) -> requests.Response:
    headers = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {access_token}"}
    body: Any = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": {"name": "Eve"}},
    }
    return requests.post(url, json=body, headers=headers, timeout=10)


def test_challenges_name_the_metadata_and_the_scopes(laptop: Laptop, mcp_server: str) -> None:
    metadata_url = mcp_server.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    rejected = requests.post(mcp_server, json={}, timeout=10)
    assert rejected.status_code == 401
    assert rejected.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{metadata_url}"'
    assert requests.get(metadata_url, timeout=10).json() == {
        "resource": mcp_server,
        "authorization_servers": [laptop.addresses.issuer],
        "scopes_supported": ["customer.read"],
        "bearer_methods_supported": ["header"],
    }
    client_id = register(laptop, mcp_server)
    reader, writer, both = (
        token(laptop, client_id, scope, mcp_server) for scope in ("customer.read", "customer.write", BOTH_SCOPES)
    )
    rejected = call_tool(mcp_server, reader, "add_customer")
    assert rejected.status_code == 403
    challenge = f'Bearer error="insufficient_scope", scope="{BOTH_SCOPES}", resource_metadata="{metadata_url}"'
    assert rejected.headers["WWW-Authenticate"] == challenge
    assert call_tool(mcp_server, both, "add_customer").status_code == 200
    assert call_tool(mcp_server, writer, "add_customer").status_code == 403
    assert call_tool(mcp_server, both, "other").status_code == 403


def test_server_behind_the_shared_authorizer_is_found_by_its_address(laptop: Laptop) -> None:
    template, issuer = ROOT / "docs" / "examples" / "mcp" / "template.yaml", laptop.addresses.issuer
    with serving(laptop, template, parameters=["SharedAuthorizer=true"]) as origin:
        url, storage = f"{origin}/mcp", MemoryStorage()
        rejected = requests.post(url, json={}, timeout=10)
        assert (rejected.status_code, "WWW-Authenticate" in rejected.headers) == (401, False)
        client_id = register(laptop, url)
        provider = ClientCredentialsOAuthProvider(url, storage, client_id, SECRET, issuer=issuer)
        results = asyncio.run(_call_tools(url, provider, CALLS))
        assert results["add_customer"] == "Grace was added."
        assert storage.scopes == ["customer.read", BOTH_SCOPES]
        other = token(laptop, client_id, "customer.write", url)
        assert call_tool(url, other, "add_customer").json() == {"message": "Forbidden"}
        assert call_tool(url, f"{other[:-8]}AAAAAAAA", "list_customers").status_code == 401


def test_token_for_another_server_is_rejected(laptop: Laptop, mcp_server: str) -> None:
    other = f"{mcp_server}/other"
    foreign = token(laptop, register(laptop, other), BOTH_SCOPES, other)
    assert call_tool(mcp_server, foreign, "add_customer").status_code == 401


def test_sdk_reads_the_metadata(laptop: Laptop) -> None:
    answer = requests.get(f"{laptop.addresses.issuer}/.well-known/oauth-authorization-server", timeout=30)
    metadata = OAuthMetadata.model_validate_json(answer.content)
    assert str(metadata.authorization_endpoint) == f"{laptop.addresses.issuer}/oauth2/authorize"
    assert metadata.response_types_supported == []


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_authorization_endpoint_never_redirects(laptop: Laptop, accept: str) -> None:
    parameters = {"response_type": "code", "client_id": "service-client-jwt", "redirect_uri": "https://evil.example"}
    answer = requests.get(
        f"{laptop.addresses.issuer}/oauth2/authorize",
        parameters,
        headers={"Accept": accept},
        allow_redirects=False,
        timeout=30,
    )
    assert (answer.status_code, "Location" in answer.headers) == (400, False)
    assert answer.headers["Content-Type"].startswith(accept)
    assert "unsupported_response_type" in answer.text
    assert "evil" not in answer.text
