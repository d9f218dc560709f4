"""The library compared with what an application would use instead."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from tests.benchmarks.decisions import API, ISSUER, TOKENS, rival_setup, sign_tokens
from tests.benchmarks.jwks_server import serving
from tests.benchmarks.results import Section, compared, measured
from tests.benchmarks.turns import Contender, python, take_turns
from tests.support.tokens import jwks, rsa_jwk

SCOPE = "country.read"
_OURS = "Gatehouse: verify(request, scope)"
_RIVALS = {"PyJWT with PyJWKClient": "PyJWKClient", "joserfc": "joserfc", "Powertools": "Powertools"}
_FASTAPI_OURS = "FastAPI with Gatehouse's security scheme"
_FASTAPI_USUAL = "FastAPI with HTTPBearer and PyJWKClient"

Verify = Callable[[list[tuple[str, str]]], object]


def library() -> Iterator[Section]:
    """Measure the check of a request's new token, alone and within FastAPI."""
    tokens = sign_tokens(TOKENS)
    with serving(jwks(rsa_jwk())) as endpoint:
        setup = rival_setup(tokens) | {"jwks_uri": endpoint.url}
        contenders = {_OURS: Contender(python("library"), setup)}
        contenders |= {name: Contender(python(f"request:{rival}"), setup) for name, rival in _RIVALS.items()}
        contenders[_FASTAPI_OURS] = Contender(python("fastapi:library"), setup)
        contenders[_FASTAPI_USUAL] = Contender(python("fastapi:PyJWKClient"), setup)
        samples = take_turns(contenders)
    yield Section(
        "In process: a token seen for the first time",
        "The headers of a request in, the verified claims out: find the bearer token, verify signature, issuer, "
        "audience and times with cached keys, and require one scope. The last two are whole requests to a FastAPI "
        "route, without a socket.",
        [measured(name, each, "µs") for name, each in samples.items()],
        [
            *(
                compared(f"a request, the library compared with {name}", samples[_OURS], samples[name], 1.0)
                for name in _RIVALS
            ),
            compared(
                "a FastAPI request, compared with its usual dependency",
                samples[_FASTAPI_OURS],
                samples[_FASTAPI_USUAL],
                1.0,
            ),
        ],
    )


def headers_of(token: str) -> list[tuple[str, str]]:
    """Return the headers of a usual request."""
    return [
        ("host", "api.example.com"),
        ("user-agent", "python-httpx/0.28.1"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("authorization", f"Bearer {token}"),
    ]


def access_tokens(setup: Any) -> Any:
    """Return the library's verifier."""
    from authorizer import AccessTokens

    return AccessTokens(issuer=ISSUER, audience=API, jwks_uri=setup["jwks_uri"])


def verify_with_library(setup: Any) -> Verify:
    """Check a request with the library."""
    from authorizer import HttpRequest

    verify = access_tokens(setup).verify
    return lambda headers: verify(HttpRequest("GET", "/orders", headers), SCOPE)


def verify_with_rival(verify: Callable[[str], Any]) -> Verify:
    """Check a request as an application does with a verifier of tokens."""

    def check(headers: list[tuple[str, str]]) -> object:
        scheme, _, token = dict(headers).get("authorization", "").partition(" ")
        assert scheme.lower() == "bearer"
        verified = verify(token)
        claims = getattr(verified, "claims", verified)
        assert SCOPE in claims["scope"].split()
        return claims

    return check


def fastapi_request(setup: Any, verify: Callable[[str], Any] | None) -> Callable[[list[tuple[str, str]]], object]:
    """Return a function that runs a request through a FastAPI route with one scope.

    The route's dependency is Gatehouse's, or calls `verify` as FastAPI's tutorial does.
    """
    import asyncio

    from fastapi import Depends, FastAPI, HTTPException, Security
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

    from authorizer.adapters.fastapi import AccessTokenScheme

    app, bearer = FastAPI(), HTTPBearer()

    async def usual(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> Any:
        try:
            claims = verify(credentials.credentials)  # type: ignore[misc]
        except Exception as error:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from error
        if SCOPE not in claims["scope"].split():
            raise HTTPException(403)
        return claims

    dependency = Depends(usual) if verify else Security(AccessTokenScheme(access_tokens(setup)), scopes=[SCOPE])

    async def orders() -> dict[str, str]:
        return {"status": "read"}

    app.get("/orders", dependencies=[dependency])(orders)
    loop = asyncio.new_event_loop()
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses[:] = [message["status"]]

    def run(headers: list[tuple[str, str]]) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/orders",
            "raw_path": b"/orders",
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        loop.run_until_complete(app(scope, receive, send))
        assert statuses == [200], statuses

    return run
