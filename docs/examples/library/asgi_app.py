"""An ASGI application: every route but /health needs the scope orders.read."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gatehouse import AccessTokens
from gatehouse.adapters.asgi import TOKEN, AccessTokenMiddleware

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")


async def orders(request: Request) -> JSONResponse:
    return JSONResponse({"client": request.scope[TOKEN].client_id})


async def health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "up"})


app = Starlette(routes=[Route("/orders", orders), Route("/health", health)])
app.add_middleware(AccessTokenMiddleware, tokens=tokens, scopes=["orders.read"], public=["/health"])
