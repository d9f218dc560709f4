"""A Lambda function with the Event Handler of Powertools for AWS Lambda: each route has its scopes."""

import os

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver

from gatehouse import AccessTokens
from gatehouse.adapters.powertools import require

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")
app = LambdaFunctionUrlResolver()


@app.get("/orders", middlewares=[require(tokens, "orders.read")])
def orders():
    return {"client": app.context["access_token"].client_id}


@app.post("/orders", middlewares=[require(tokens, "orders.write")])
def create_order():
    return {"status": "created"}


def handler(event, context):
    return app.resolve(event, context)
