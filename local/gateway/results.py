"""Check what a function returned, and turn it into the response, as API Gateway does.

Source: API Gateway Developer Guide, "Output format of a Lambda function for proxy integration",
"Create AWS Lambda proxy integrations for HTTP APIs", and the table of remapped headers under
"Amazon API Gateway important notes".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING

from local.gateway.events import is_binary
from local.gateway.messages import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.gateway.events import Call

__all__ = ["MalformedResultError", "response"]

_KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
"""All that a REST API takes. `cookies` are an HTTP API's."""
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# A REST API gives these of a function's headers another name.
_REMAPPED = {
    "authorization",
    "connection",
    "content-length",
    "content-md5",
    "date",
    "host",
    "server",
    "user-agent",
    "www-authenticate",
}
_DROPPED = {
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_MAX_RESULT = 6 * 1024 * 1024


class MalformedResultError(Exception):
    """The function returned something that is no proxy response."""


def response(call: Call, result: object) -> Response:
    """The client's response.

    Raises:
        MalformedResultError: `result`, which came from JSON, is no proxy response.
    """
    rest = call.api.kind == "rest"
    if not rest and call.route.payload_format == "2.0":
        result = _inferred(result)
    if not isinstance(result, dict):
        raise MalformedResultError("the result is not an object")
    unknown = set(result) - _KEYS
    if rest and unknown:
        raise MalformedResultError(f"unknown members {sorted(unknown)}")
    encoded = result.get("isBase64Encoded") or False
    if not isinstance(encoded, bool):
        raise MalformedResultError("isBase64Encoded is neither true nor false")
    text = result.get("body")
    if text is not None and not isinstance(text, str):
        raise MalformedResultError("body is not a string")
    headers = _headers(result)
    body = _body(call, text or "", headers, encoded=encoded)
    default_type = "application/json" if rest else "text/plain; charset=utf-8"
    if body and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", default_type))
    if rest:
        headers = [
            (f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name, value)
            for name, value in headers
        ]
        headers += [
            ("x-amzn-RequestId", call.request_id),
            ("x-amz-apigw-id", call.extended_request_id),
            ("X-Amzn-Trace-Id", call.trace_id),
        ]
    else:
        headers.append(("Apigw-Requestid", call.extended_request_id))
    kept = tuple((name, value) for name, value in headers if name.lower() not in _DROPPED)
    return Response(_status(result.get("statusCode")), kept, body)


def _inferred(result: object) -> object:
    """Payload format 2.0: without a status code, the result is the body."""
    if isinstance(result, dict) and "statusCode" in result:
        return result
    body = result if isinstance(result, str) else json.dumps(result)
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}


def _status(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:4])
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 599:  # noqa: PLR2004 - HTTP
        raise MalformedResultError(f"statusCode {value!r} is no HTTP status")
    return value


def _headers(result: Mapping[str, object]) -> list[tuple[str, str]]:
    single = _object(result, "headers")
    multiple = _object(result, "multiValueHeaders")
    cookies = result.get("cookies") or []
    if not isinstance(cookies, list):
        raise MalformedResultError("cookies is not a list")
    pairs: list[tuple[str, str]] = []
    for name, values in multiple.items():
        if not isinstance(values, list):
            raise MalformedResultError(f"multiValueHeaders.{name} is not a list")
        pairs += [_pair(name, value) for value in values]
    pairs += [
        pair for pair in (_pair(name, value) for name, value in single.items()) if pair not in pairs
    ]
    return pairs + [_pair("Set-Cookie", cookie) for cookie in cookies]


def _object(result: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = result.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedResultError(f"{name} is not an object")
    return value


def _pair(name: str, value: object) -> tuple[str, str]:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise MalformedResultError(f"header {name} has no plain value")
    text = str(value)
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
        raise MalformedResultError(f"header {name!r} cannot be sent")
    return name, text


def _body(call: Call, text: str, headers: list[tuple[str, str]], *, encoded: bool) -> bytes:
    content_type = next((value for name, value in headers if name.lower() == "content-type"), "")
    accept = (call.request.header("accept") or "").partition(",")[0].partition(";")[0].strip()
    binary = call.api.kind == "http" or any(
        is_binary(media_type.strip().lower(), call.api.binary_media_types)
        for media_type in (accept, content_type.partition(";")[0])
    )
    if encoded and binary:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise MalformedResultError("body is not base64") from error
    try:
        body = text.encode()
    except UnicodeEncodeError as error:
        raise MalformedResultError("body holds half a character") from error
    if len(body) > _MAX_RESULT:
        raise MalformedResultError("the result is larger than Lambda allows")
    return body
