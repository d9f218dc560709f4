"""A WebSocket API that answers messages until the token of the connection expires.

API Gateway calls the authorizer for $connect only and puts its context into every event of the connection. An event
without that context comes from a route that names no authorizer. It is rejected.
"""

import json
import time
from typing import Any


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer the routes $connect and $default."""
    authorizer_context = event["requestContext"].get("authorizer") or {}
    if not authorizer_context.get("client_id"):
        return answer(401, {"error": "unauthorized"})
    if event["requestContext"]["routeKey"] == "$connect":
        return {"statusCode": 200}
    if time.time() >= float(authorizer_context["exp"]):
        return answer(401, {"error": "token_expired"})
    return answer(200, {"client_id": authorizer_context["client_id"], "heard": event.get("body")})


def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Write a proxy response. A WebSocket client receives the body only."""
    return {"statusCode": status, "body": json.dumps(body)}
