"""An ASGI application: every route but /health needs the scope orders.read, one also orders.write."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gatehouse import AccessTokens
from gatehouse.adapters.asgi import TOKEN_KEY, AccessTokenMiddleware

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")


async def orders(request: Request) -> JSONResponse:
    return JSONResponse({"client": request.scope[TOKEN_KEY].client_id})


async def create_order(request: Request) -> JSONResponse:
    tokens.require(request.scope[TOKEN_KEY], "orders.write")
    return JSONResponse({"status": "created"})


async def health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "up"})


routes = [Route("/orders", orders), Route("/orders", create_order, methods=["POST"]), Route("/health", health)]
app = Starlette(routes=routes)
app.add_middleware(AccessTokenMiddleware, tokens=tokens, scopes=["orders.read"], public=["/health"])
