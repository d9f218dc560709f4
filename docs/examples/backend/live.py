"""A WebSocket API that answers messages for as long as the token counts that opened the connection.

API Gateway has checked the token before it calls this for $connect, and hands on with every message
of the connection what the authorizer said then. It asks the authorizer no second time.
"""

import json
import time
from typing import Any


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Answer the routes $connect and $default."""
    token = event["requestContext"]["authorizer"]
    if event["requestContext"]["routeKey"] == "$connect":
        return {"statusCode": 200}
    if time.time() >= float(token["exp"]):
        return answer(401, {"error": "token_expired"})
    return answer(200, {"client_id": token["client_id"], "heard": event.get("body")})


def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Write a proxy response: the caller of a WebSocket API sees its body alone."""
    return {"statusCode": status, "body": json.dumps(body)}
