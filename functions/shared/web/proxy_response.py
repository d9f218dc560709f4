"""Responses for API Gateway's proxy integration."""

from collections.abc import Mapping
from typing import TypedDict

from ..json_encoding import json_encoder

NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""Headers of each response that contains a token or information about one. RFC 6749, 5.1."""

to_json = json_encoder(ensure_ascii=False)


class ProxyResponse(TypedDict):
    """The result of a Lambda function for API Gateway, payload format 1.0."""

    statusCode: int
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


def response(status: int, body: str, headers: Mapping[str, str]) -> ProxyResponse:
    """Return a response with a status, a body and headers."""
    return {"statusCode": status, "headers": dict(headers), "body": body, "isBase64Encoded": False}


def json_response(
    status: int, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> ProxyResponse:
    """Return a JSON response in UTF-8. RFC 8259, 8.1 and 11: the media type has no charset."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": to_json(members),
        "isBase64Encoded": False,
    }
