"""The official MCP SDK for Python, unmodified, against the running services: discovery and client credentials."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest
import requests
import uvicorn
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken

from authorizer.access_tokens import AccessTokens
from authorizer.adapters.mcp import TokenVerifier
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.storage.boto3_client import Boto3Clients
from tests.support.laptop import Laptop, aws_client
from tests.support.server import SECRET, client

SCOPE = "country.read"


class MemoryStorage(TokenStorage):
    """Tokens of one client, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.information: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.information

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.information = client_info


@contextmanager
def mcp_server(issuer: str) -> Iterator[str]:
    """An MCP server with one tool, whose tokens are for its own URL. Yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        resource = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        verifier = TokenVerifier(AccessTokens(issuer=issuer, audience=resource))
        auth = AuthSettings.model_validate(
            {
                "issuer_url": issuer,
                "resource_server_url": resource,
                "validate_token_resource": True,
                "required_scopes": [SCOPE],
            }
        )
        tools = MCPServer("countries", token_verifier=verifier, auth=auth)

        @tools.tool()
        def count_countries() -> int:
            """Return the number of countries."""
            return 249

        server = uvicorn.Server(uvicorn.Config(tools.streamable_http_app(), log_level="warning"))
        thread = threading.Thread(target=partial(server.run, [listening]))
        thread.start()
        try:
            yield resource
        finally:
            server.should_exit = True
            thread.join()


async def _call_tool(resource: str, issuer: str, client_id: str, storage: MemoryStorage) -> str:
    provider = ClientCredentialsOAuthProvider(
        resource, storage, client_id=client_id, client_secret=SECRET, issuer=issuer
    )
    async with (
        AsyncClient(auth=provider) as http,
        Client(streamable_http_client(resource, http_client=http)) as session,
    ):
        (content,) = (await session.call_tool("count_countries", {})).content
    return str(getattr(content, "text", ""))


def test_sdk_finds_the_server_and_gets_a_token(laptop: Laptop) -> None:
    issuer, client_id, storage = laptop.addresses.issuer, f"mcp-{uuid4()}", MemoryStorage()
    aws = Boto3Clients(partial(aws_client, laptop.addresses.aws_port))
    with mcp_server(issuer) as resource:
        DynamoDbClients(aws, "gatehouse-ClientsTable").put(client(client_id, audience=(resource,)))
        assert asyncio.run(_call_tool(resource, issuer, client_id, storage)) == "249"
    assert storage.tokens is not None
    assert storage.tokens.scope == SCOPE


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
