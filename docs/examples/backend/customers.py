"""A tiny API of customers: GET /customers, GET /customers/{id} and POST /customers.

API Gateway has checked the token before it calls this. What the authorizer says of it stands in the
request's context, one level deeper in payload format 2.0.
"""

import json
from typing import Any

CUSTOMERS = {"1": "Ada Lovelace", "2": "Grace Hopper"}


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Answer a request of a REST API, or of an HTTP API with payload format 2.0."""
    told = event["requestContext"]["authorizer"]
    token = told.get("lambda", told)
    method = event["requestContext"].get("http", {}).get("method") or event["httpMethod"]
    customer_id = (event.get("pathParameters") or {}).get("id")
    if method == "POST":
        return answer(201, {"added_by": token["client_id"]})
    if customer_id is None:
        return answer(200, {"customers": sorted(CUSTOMERS)})
    if customer_id not in CUSTOMERS:
        return answer(404, {"error": "not_found"})
    return answer(200, {"id": customer_id, "name": CUSTOMERS[customer_id]})


def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Write a proxy response."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
