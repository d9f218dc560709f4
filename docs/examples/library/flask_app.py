"""A Flask application: every route but /health needs the scope orders.read."""

import os

from flask import Flask, request

from gatehouse import AccessTokenError, AccessTokens
from gatehouse.adapters.wsgi import TOKEN_KEY, AccessTokenMiddleware

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")
app = Flask(__name__)
app.wsgi_app = AccessTokenMiddleware(app.wsgi_app, tokens, scopes=["orders.read"], public=["/health"])
app.register_error_handler(AccessTokenError, lambda error: (error.body, error.status, error.headers))


@app.get("/orders")
def orders():
    return {"client": request.environ[TOKEN_KEY].client_id}


@app.post("/orders")
def create_order():
    tokens.require(request.environ[TOKEN_KEY], "orders.write")
    return {"status": "created"}


@app.get("/health")
def health():
    return {"status": "up"}
