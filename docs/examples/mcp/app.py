"""An MCP server on AWS Lambda: each tool has a scope of its own."""

import os
from urllib.parse import urlsplit

from mangum import Mangum
from mcp.server.auth.routes import build_resource_metadata_url
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from gatehouse import AccessTokens
from gatehouse.adapters.mcp import TokenVerifier, ToolScopesMiddleware

ISSUER, URL = os.environ["ISSUER"], os.environ["SERVER_URL"]
SCOPES = ["customer.read"]  # every request needs it, and the metadata names it
TOOLS = {"list_customers": "customer.read", "add_customer": "customer.write"}

auth = AuthSettings(issuer_url=ISSUER, resource_server_url=URL, required_scopes=SCOPES, validate_token_resource=True)
metadata_url = str(build_resource_metadata_url(auth.resource_server_url))
tokens = AccessTokens(issuer=ISSUER, audience=URL, resource_metadata=metadata_url)
server = MCPServer("customers", token_verifier=TokenVerifier(tokens), auth=auth, log_level="WARNING")
host, origin = urlsplit(URL).netloc, URL.removesuffix(urlsplit(URL).path)
security = TransportSecuritySettings(allowed_hosts=[host], allowed_origins=[origin])
customers = ["Ada"]


@server.tool()
def list_customers() -> str:
    """Return the names of all customers."""
    return ", ".join(customers)


@server.tool()
def add_customer(name: str) -> str:
    """Add a customer."""
    customers.append(name)
    return f"{name} was added."


def handle(event, context):
    # Without sessions, any instance can answer. The SDK's application runs once, so each request has its own.
    app = server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)
    app.add_middleware(ToolScopesMiddleware, tokens=tokens, tools=TOOLS, scopes=SCOPES)
    return Mangum(app)(event, context)
