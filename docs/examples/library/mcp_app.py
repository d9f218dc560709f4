"""An MCP server: its tools need the scope orders.read."""

import os

from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from gatehouse import AccessTokens
from gatehouse.adapters.mcp import TokenVerifier, UnavailableMiddleware

issuer = os.environ["ISSUER"]
verifier = TokenVerifier(AccessTokens(issuer=issuer, audience="https://orders.example"))
auth = AuthSettings(
    issuer_url=issuer,
    resource_server_url="https://orders.example",
    validate_token_resource=True,
    required_scopes=["orders.read"],
)
server = MCPServer("orders", token_verifier=verifier, auth=auth)


@server.tool()
def count_orders() -> int:
    """Return the number of orders."""
    return 3


app = server.streamable_http_app()
app.add_middleware(UnavailableMiddleware)
