"""The API of customers behind a load balancer that verifies JWTs.

The load balancer forwards the token and no claims. It has verified the signature and the claims, so
the function only decodes them. Nothing else may invoke the function: see its permission.
"""

import base64
import json
from typing import Any

from customers import answer, respond


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer a request of a load balancer."""
    scheme, _, token = (event["headers"].get("authorization") or "").partition(" ")
    if "elb" not in event["requestContext"] or scheme.lower() != "bearer":
        return answer(401, {"error": "unauthorized"})
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    _, _, customer_id = event["path"].removeprefix("/customers").partition("/")
    return respond(event["httpMethod"], customer_id or None, claims["client_id"])
