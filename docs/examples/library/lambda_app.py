"""A Lambda function behind a function URL, a load balancer or an HTTP API."""

import json
import os

from gatehouse import AccessTokens
from gatehouse.adapters.aws_lambda import TOKEN_KEY, require

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")


@require(tokens, "orders.read")
def handler(event, context):
    return {"statusCode": 200, "body": json.dumps({"client": event[TOKEN_KEY].client_id})}
