"""Answers in the shape that API Gateway's proxy integration takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from functions.shared.web.json_text import json_encoder

NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""Headers of every answer that holds a token or says something about one. RFC 6749, 5.1."""

_encode = json_encoder(ensure_ascii=False)


class ProxyResponse(TypedDict):
    """What a Lambda function returns to API Gateway, payload format 1.0."""

    statusCode: int
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


def response(status: int, body: str, headers: Mapping[str, str]) -> ProxyResponse:
    """Build an answer from a status, a text and headers."""
    return {
        "statusCode": status,
        "headers": dict(headers),
        "body": body,
        "isBase64Encoded": False,
    }


def json_response(
    status: int, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> ProxyResponse:
    """Build a JSON answer in UTF-8. RFC 8259, 8.1 and 11: the media type takes no charset."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": _encode(members),
        "isBase64Encoded": False,
    }
