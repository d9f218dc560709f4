"""An agent that calls the tools of the MCP server. It gets its tokens by client credentials."""

import asyncio
import os
import sys

from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

CLIENT_ID = os.environ.get("CLIENT_ID", "service-client-api")
CLIENT_SECRET = os.environ.get("CLIENT_SECRET", "service-client-api-secret")


class Tokens:
    """The SDK's token storage, in memory."""

    tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        print(f"token with the scopes: {tokens.scope}")

    async def get_client_info(self):
        return None


async def main(url="http://localhost:8101/mcp", issuer="http://localhost:8085/ms-auth-server"):
    provider = ClientCredentialsOAuthProvider(
        url, Tokens(), client_id=CLIENT_ID, client_secret=CLIENT_SECRET, issuer=issuer
    )
    async with AsyncClient(auth=provider) as http, Client(streamable_http_client(url, http_client=http)) as client:
        print("tools:", ", ".join(tool.name for tool in (await client.list_tools()).tools))
        for name, arguments in (("list_customers", {}), ("add_customer", {"name": "Grace"})):
            result = await client.call_tool(name, arguments)
            print(f"{name}: {result.content[0].text}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
