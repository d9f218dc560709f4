"""A FastAPI application: each route has its scopes, and /docs shows them."""

import logging
import os
from typing import Annotated

from fastapi import FastAPI, Security

from gatehouse import AccessTokens, VerifiedToken
from gatehouse.adapters.fastapi import AccessTokenScheme

logging.basicConfig()
logging.getLogger("gatehouse").setLevel(logging.INFO)
tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")
access_token = AccessTokenScheme(tokens, {"orders.read": "Read orders", "orders.write": "Create orders"})
app = FastAPI()


@app.get("/orders")
async def orders(token: Annotated[VerifiedToken, Security(access_token, scopes=["orders.read"])]) -> dict[str, str]:
    return {"client": token.client_id}


@app.post("/orders", dependencies=[Security(access_token, scopes=["orders.write"])])
def create_order() -> dict[str, str]:
    return {"status": "created"}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "up"}
