"""A tiny API of customers: GET /customers, GET /customers/{id} and POST /customers.

API Gateway asks the authorizer first and puts its context into the event. A Lambda authorizer's
context is one level deeper in payload format 2.0. A JWT authorizer's context has the claims.

An event without it reached this function past the authorizer: by a route that names none, by another
trigger, or by a path that API Gateway did not guard. It is rejected.
"""

import json
from typing import Any

CUSTOMERS = {"1": "Ada Lovelace", "2": "Grace Hopper"}


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer a request of a REST API, or of an HTTP API with payload format 2.0."""
    authorizer = event["requestContext"].get("authorizer") or {}
    token = authorizer.get("lambda") or authorizer.get("jwt", authorizer).get("claims") or authorizer
    if not token.get("client_id"):
        return answer(401, {"error": "unauthorized"})
    method = event["requestContext"].get("http", {}).get("method") or event["httpMethod"]
    return respond(method, (event.get("pathParameters") or {}).get("id"), token["client_id"])


def respond(method: str, customer_id: str | None, client_id: str) -> dict[str, Any]:
    """Answer a request of a client."""
    if method == "POST":
        return answer(201, {"added_by": client_id})
    if customer_id is None:
        return answer(200, {"customers": sorted(CUSTOMERS)})
    if customer_id not in CUSTOMERS:
        return answer(404, {"error": "not_found"})
    return answer(200, {"id": customer_id, "name": CUSTOMERS[customer_id]})


def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Write a proxy response."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
