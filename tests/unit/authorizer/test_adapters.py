"""Adapters in this process. tests/integration serves each over HTTP with its framework."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, cast

import pytest
from chalice.app import Chalice, Response
from chalice.test import Client

from authorizer import https_client
from authorizer.access_tokens import AccessTokenError, AccessTokens
from authorizer.adapters import appsync, asgi, aws_lambda, wsgi
from authorizer.adapters.chalice import Guard
from authorizer.testing import MemoryIssuer

METADATA = "https://api.test/.well-known/oauth-protected-resource"


@pytest.fixture(scope="module")
def issuer() -> Iterator[MemoryIssuer]:
    issuer = MemoryIssuer("https://issuer.test/adapters")
    with issuer.serving():
        yield issuer


@pytest.fixture
def tokens(issuer: MemoryIssuer) -> AccessTokens:
    return AccessTokens(issuer=issuer.url, audience=issuer.audience)


def unavailable_tokens(monkeypatch: pytest.MonkeyPatch) -> AccessTokens:
    """Return the verifier of an issuer that does not respond."""

    def fail(_: https_client.Request) -> https_client.Response:
        raise https_client.HttpExchangeError

    monkeypatch.setattr(https_client, "send", fail)
    return AccessTokens(issuer="https://unavailable.test", audience="https://api.test", jwks_soft_age=64)


def unverifiable() -> str:
    return MemoryIssuer("https://unavailable.test").access_token("a")


# ASGI


class AsgiCall:
    """One call of an ASGI application, and what it sent."""

    def __init__(
        self, app: asgi.Application, kind: str = "http", path: str = "/", token: str = "", **scope: Any
    ) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        defaults = {"type": kind, "path": path, "headers": headers, "query_string": b""}
        asyncio.run(cast("Any", app({**defaults, **scope}, self._receive, self._send)))

    async def _receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def asgi_app(tokens: AccessTokens) -> asgi.Application:
    async def app(
        scope: asgi.Scope, _receive: asgi.Receive, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ) -> None:
        verified = scope.get(asgi.TOKEN_KEY)
        await send({"type": "http.response.start", "status": 200, "client": verified and verified.client_id})

    return asgi.AccessTokenMiddleware(app, tokens, ["a"], ["/health"])


def test_asgi_passes_valid_requests_on(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    app = asgi_app(tokens)
    for kind in ("http", "websocket"):
        assert AsgiCall(app, kind, token=issuer.access_token("a")).sent[0]["client"] == "test-client"
    assert AsgiCall(app, path="/health").sent[0]["client"] is None
    assert AsgiCall(app, "lifespan").sent[0]["client"] is None


def test_one_scope_and_one_public_path_need_no_collection(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    async def app(_scope: asgi.Scope, _receive: asgi.Receive, send: asgi.Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    guarded = asgi.AccessTokenMiddleware(app, tokens, "abc", "/health")
    assert AsgiCall(guarded, token=issuer.access_token("abc")).status == 200
    assert AsgiCall(guarded, path="/health").status == 200
    assert AsgiCall(guarded, path="/").status == 401
    assert AsgiCall(guarded, "another", path="/").status == 401


def test_asgi_rejects_http_requests(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    app = asgi_app(tokens)
    assert AsgiCall(app).status == 401
    assert AsgiCall(app, token=issuer.access_token("b"), method="POST").status == 403
    assert AsgiCall(app, token=issuer.access_token("a"), query_string=b"access_token=b").status == 400
    assert AsgiCall(app, path="/health/", token=issuer.access_token(fault="expired")).status == 401


def test_asgi_rejects_websocket_requests(tokens: AccessTokens) -> None:
    assert AsgiCall(asgi_app(tokens), "websocket").sent == [{"type": "websocket.close", "code": 1008}]
    response = AsgiCall(asgi_app(tokens), "websocket", extensions={"websocket.http.response": {}}).sent
    assert [each["type"] for each in response] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert response[0]["status"] == 401


def test_asgi_path_is_the_escaped_one(tokens: AccessTokens) -> None:
    scope = {"type": "http", "path": "/a b", "headers": [], "query_string": b""}
    assert asgi.read_request({**scope, "raw_path": b"/a%20b?c"})[1] == "/a%20b"
    assert asgi.read_request(scope) == ("GET", "/a b", [], "", True)


# MCP

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}


def guarded_tools(tokens: AccessTokens, body: bytes | dict[str, Any] | list[Any], token: str, **scope: Any) -> AsgiCall:
    """Return the call of an application whose tool `write` needs the scope b, and `read` none but a."""
    from authorizer.adapters.mcp import ToolScopesMiddleware

    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = [content[:7], content[7:]]

    class Call(AsgiCall):
        async def _receive(self) -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def app(_scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        message = await receive() if _scope["type"] == "http" else {}
        await send({"type": "http.response.start", "status": 200, "body": message.get("body")})

    guarded = ToolScopesMiddleware(app, tokens, {"read": (), "write": ["b"]}, "a")
    return Call(guarded, token=token, method="POST", **scope)


@pytest.mark.parametrize(
    "body",
    [
        {**CALL, "params": {"name": "read"}},
        {**CALL, "params": {"name": "read", "arguments": {"name": "write", "number": 10**40}}},
        {**CALL, "method": "tools/list"},
        {**CALL, "method": "prompts/get", "params": {"name": "write"}},
        [{**CALL, "params": {"name": "read"}}, {"method": "ping"}, 1],
        b"",
    ],
)
def test_call_with_the_tools_scopes_reaches_the_server(issuer: MemoryIssuer, tokens: AccessTokens, body: Any) -> None:
    sent = guarded_tools(tokens, body, issuer.access_token("a")).sent
    assert sent[0]["status"] == 200
    assert sent[0]["body"] == (body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {**CALL, "params": {"name": "write"}},
        {**CALL, "params": {"name": "write", "_meta": {}}, "id": None},
        [{"method": "ping"}, {**CALL, "params": {"name": "write"}}],
        b'{"method": "tools\\/call", "params": {"n\\u0061me": "wr\\u0069te"}}',
    ],
)
def test_call_without_the_tools_scope_names_all_of_them(issuer: MemoryIssuer, tokens: AccessTokens, body: Any) -> None:
    rejected = guarded_tools(tokens, body, issuer.access_token("a")).sent
    assert rejected[0]["status"] == 403
    assert (b"www-authenticate", b'Bearer error="insufficient_scope", scope="a b"') in rejected[0]["headers"]
    assert guarded_tools(tokens, body, issuer.access_token("a b")).status == 200


@pytest.mark.parametrize("name", ["other", "Read", "read ", "", None, ["read"], {"read": 1}, 7])
def test_tool_without_registered_scopes_is_closed(issuer: MemoryIssuer, tokens: AccessTokens, name: Any) -> None:
    assert guarded_tools(tokens, {**CALL, "params": {"name": name}}, issuer.access_token("a b")).status == 403
    assert guarded_tools(tokens, {**CALL, "params": name}, issuer.access_token("a b")).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"method": "tools/call", "params": {"name": "write", "name": "read"}}', 400),
        (b'{"method": "tools/call", "method": "ping", "params": {"name": "write"}}', 400),
        (json.dumps({**CALL, "params": {"name": "write"}}).encode("utf-16"), 400),
        (b"\xef\xbb\xbf" + json.dumps({**CALL, "params": {"name": "write"}}).encode(), 400),
        (b'{"method": "tools/call", "params": {"name": "\xff"}}', 400),
        (b"[" * 100_000, 400),
        (b'{"id": 1' + b"0" * 5000 + b"}", 400),
        (b"not JSON", 400),
        (b" " * (4 * 1024 * 1024 + 1), 413),
    ],
)
def test_ambiguous_or_oversized_body_never_reaches_the_server(
    issuer: MemoryIssuer, tokens: AccessTokens, body: bytes, status: int
) -> None:
    assert guarded_tools(tokens, body, issuer.access_token("a b")).status == status


def test_server_needs_a_token_except_for_its_metadata(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    path = "/.well-known/oauth-protected-resource"
    assert guarded_tools(tokens, b"", "", path=f"{path}/mcp").status == 200
    assert guarded_tools(tokens, b"", "", path="/mcp").status == 401
    assert guarded_tools(tokens, b"", "", path=f"/mcp{path}").status == 401
    assert guarded_tools(tokens, b"", issuer.access_token("b")).status == 403
    assert guarded_tools(tokens, b"", "", kind="lifespan").status == 200
    assert guarded_tools(tokens, b"", "", kind="websocket").sent[0]["type"] == "websocket.close"


# FastAPI


def test_fastapi_raises_http_exceptions_of_the_framework(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    from fastapi import FastAPI, Security

    from authorizer.adapters.fastapi import AccessTokenScheme

    app = FastAPI()

    async def route() -> str:
        return "read"

    app.get("/", dependencies=[Security(AccessTokenScheme(tokens), scopes=["a"])])(route)
    scope: dict[str, Any] = {
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "server": ("test", 80),
        "client": None,
    }
    statuses = [
        AsgiCall(app, token=token, root_path="", raw_path=b"/", **scope).status
        for token in (issuer.access_token("a"), issuer.access_token("b"), "")
    ]
    assert statuses == [200, 403, 401]


# WSGI


def wsgi_call(app: wsgi.Application, token: str = "", **environ: Any) -> tuple[str, bytes]:
    statuses: list[str] = []
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    defaults = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    body = app({**defaults, **headers, **environ}, lambda status, _headers: statuses.append(status))
    return statuses[0], b"".join(body)


def test_wsgi_guards_an_application(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    def app(environ: dict[str, Any], start_response: wsgi.StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [repr(environ.get(wsgi.TOKEN_KEY) and environ[wsgi.TOKEN_KEY].client_id).encode()]

    guarded = wsgi.AccessTokenMiddleware(app, tokens, ["a"], ["/health"])
    assert wsgi_call(guarded, issuer.access_token("a")) == ("200 OK", b"'test-client'")
    assert wsgi_call(guarded, PATH_INFO="/health") == ("200 OK", b"None")
    assert wsgi_call(guarded, issuer.access_token("b")) == ("403 Forbidden", b'{"error": "insufficient_scope"}')
    assert wsgi_call(guarded)[0] == "401 Unauthorized"


def test_wsgi_path_is_decoded_text() -> None:
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/v1", "PATH_INFO": "/ä".encode().decode("latin-1")}
    request = wsgi.read_request(environ)
    assert (request.path, request.path_was_decoded) == ("/v1/ä", True)


# Lambda, Powertools, AppSync


def test_lambda_handler_gets_the_token(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    handler = aws_lambda.require(tokens, "a")(lambda event, _context: event[aws_lambda.TOKEN_KEY].client_id)
    event = {"headers": {"Authorization": f"Bearer {issuer.access_token('a')}"}, "requestContext": {}}
    assert handler(event, None) == "test-client"
    assert handler({"headers": {}}, None)["headers"]["WWW-Authenticate"] == "Bearer"
    assert handler({"multiValueHeaders": {}}, None)["multiValueHeaders"]["WWW-Authenticate"] == ["Bearer"]


def test_powertools_route_gets_the_token(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

    from authorizer.adapters.powertools import require

    app = APIGatewayHttpResolver()
    app.get("/", middlewares=[require(tokens, "a")])(lambda: {"client": app.context["access_token"].client_id})

    def resolve(headers: dict[str, str]) -> dict[str, Any]:
        context = {"http": {"method": "GET", "path": "/"}, "stage": "$default"}
        event = {"version": "2.0", "rawPath": "/", "requestContext": context, "headers": headers}
        response: dict[str, Any] = app.resolve(event, cast("Any", None))
        return response

    accepted = resolve({"authorization": f"Bearer {issuer.access_token('a')}"})
    assert json.loads(accepted["body"]) == {"client": "test-client"}
    rejected = resolve({})
    assert rejected["statusCode"] == 401
    assert "Bearer" in str(rejected["headers"]["WWW-Authenticate"])


def test_appsync_response_is_cached_no_longer_than_the_token(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    authorize = appsync.authorizer(tokens, "a", fields={"Query.b": "b"}, ttl=7200)
    response = authorize({"authorizationToken": issuer.access_token("a")}, None)
    assert (response["deniedFields"], response["ttlOverride"] <= 3600) == (["Query.b"], True)
    assert authorize({"authorizationToken": "Bearer a b"}, None) == {"isAuthorized": False, "ttlOverride": 0}


def test_appsync_function_raises_if_it_cannot_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    authorize = appsync.authorizer(unavailable_tokens(monkeypatch))
    with pytest.raises(AccessTokenError, match="key_set_unavailable"):
        authorize({"authorizationToken": unverifiable()}, None)


# MCP


def test_mcp_verifier_describes_valid_tokens(issuer: MemoryIssuer, tokens: AccessTokens) -> None:
    from authorizer.adapters.mcp import TokenVerifier

    verifier = TokenVerifier(tokens)
    found = asyncio.run(verifier.verify_token(issuer.access_token("b a", tenant="blue")))
    assert found is not None
    assert (found.client_id, found.scopes) == ("test-client", ["a", "b"])
    assert found.claims is not None
    assert (found.claims["iss"], found.claims["tenant"]) == (issuer.url, "blue")
    assert found.resource == issuer.audience
    several = TokenVerifier(AccessTokens(issuer=issuer.url, audience=[issuer.audience, "b"]))
    assert cast("Any", asyncio.run(several.verify_token(issuer.access_token()))).resource is None
    assert asyncio.run(verifier.verify_token(issuer.access_token(fault="forged"))) is None


def test_mcp_application_answers_503_if_a_token_cannot_be_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    from authorizer.adapters.mcp import TokenVerifier, UnavailableMiddleware

    verifier = TokenVerifier(unavailable_tokens(monkeypatch))

    async def app(_scope: asgi.Scope, _receive: asgi.Receive, _send: asgi.Send) -> None:
        await verifier.verify_token(unverifiable())

    assert AsgiCall(UnavailableMiddleware(app)).status == 503


# Chalice


def chalice_response(tokens: AccessTokens, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    app = Chalice(app_name="orders")
    guard = Guard(app, tokens)
    authorizer = app.authorizer()(lambda request: guard.authorize(request, "a"))
    app.route("/", authorizer=authorizer)(lambda: Response("read"))
    with Client(app) as client:
        response = client.http.get("/", headers=headers)
    return response.status_code, {name.lower(): value for name, value in response.headers.items()}


def test_chalice_local_answers_for_each_decision(issuer: MemoryIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = AccessTokens(issuer=issuer.url, audience=issuer.audience, resource_metadata=METADATA)
    named = f'resource_metadata="{METADATA}"'
    assert chalice_response(tokens, {"Authorization": f"Bearer {issuer.access_token('a')}"})[0] == 200
    for headers in ({}, {"Authorization": f"Bearer {issuer.access_token(fault='expired')}"}):
        status, found = chalice_response(tokens, headers)
        assert (status, found["www-authenticate"]) == (401, f"Bearer {named}")
    status, found = chalice_response(tokens, {"Authorization": f"Bearer {issuer.access_token('b')}"})
    assert (status, found["www-authenticate"]) == (403, f'Bearer error="insufficient_scope", {named}')
    headers = {"Authorization": f"Bearer {unverifiable()}"}
    status, found = chalice_response(unavailable_tokens(monkeypatch), headers)
    assert (status, found["retry-after"]) == (503, "5")


def test_chalice_app_without_guard_is_unchanged() -> None:
    app = Chalice(app_name="orders")
    authorizer = app.authorizer()(lambda _request: None)
    app.route("/", authorizer=authorizer)(lambda: "read")
    with Client(app) as client:
        assert client.http.get("/").status_code == 401


def test_chalice_template_has_the_gateway_responses(tokens: AccessTokens) -> None:
    responses = Guard(Chalice(app_name="orders"), tokens).template()["Resources"]["RestAPI"]["Properties"]
    denied = responses["GatewayResponses"]["ACCESS_DENIED"]
    assert denied["StatusCode"] == 403
    challenge = denied["ResponseParameters"]["Headers"]["WWW-Authenticate"]
    assert challenge == "'Bearer error=\"insufficient_scope\"'"
