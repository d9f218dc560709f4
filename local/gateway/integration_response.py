"""Validate the result of a function and build the response from it, as API Gateway does.

API Gateway Developer Guide: "Output format of a Lambda function for proxy integration"; "Create AWS Lambda proxy
integrations for HTTP APIs". "Amazon API Gateway important notes" lists the remapped headers.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping

from local.gateway.events import Call, is_binary
from local.gateway.model import Response

_KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
"""All that a REST API takes. `cookies` are an HTTP API's."""
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# A REST API renames these headers of a function.
_REMAPPED = {
    *"authorization connection content-length content-md5 date expect host max-forwards proxy-authenticate".split(),
    *"server trailer upgrade user-agent www-authenticate".split(),
}
# A REST API sets these itself.
_REST_OWN = {"transfer-encoding", "x-amz-apigw-id", "x-amzn-requestid", "x-amzn-trace-id"}
# An HTTP API drops these headers of a function.
_DROPPED = {
    *"apigw-requestid connection content-length keep-alive proxy-authenticate te trailer transfer-encoding".split(),
    "upgrade",
}
_MAX_RESULT = 6 * 1024 * 1024


class MalformedResultError(Exception):
    """The function returned something that is not a proxy response."""


def response(call: Call, result: object) -> Response:
    """Return the response for the client.

    Raises:
        MalformedResultError: `result`, which came from JSON, is not a proxy response.
    """
    rest = call.api.kind == "rest"
    if not rest and call.route.payload_format == "2.0":
        result = _inferred(result)
    if not isinstance(result, dict):
        raise MalformedResultError("the result is not an object")
    unknown = set(result) - _KEYS
    if rest and unknown:
        raise MalformedResultError(f"unknown members {sorted(unknown)}")
    if all(value is None for value in result.values()):
        raise MalformedResultError("the result is empty")
    if not rest and "statusCode" not in result:
        raise MalformedResultError("statusCode is missing")
    encoded = result.get("isBase64Encoded") or False
    if not isinstance(encoded, bool):
        raise MalformedResultError("isBase64Encoded is neither true nor false")
    text = result.get("body")
    if text is not None and not isinstance(text, str):
        raise MalformedResultError("body is not a string")
    headers = _headers(result)
    body = _body(call, text or "", headers, encoded=encoded)
    typed = any(name.lower() == "content-type" for name, _ in headers)
    if rest and not typed:
        headers.append(("Content-Type", "application/json"))
    elif body and not typed:
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    status = 200 if rest and result.get("statusCode") is None else _status(result["statusCode"])
    return Response(status, tuple(_sent_headers(headers, call)), body)


def _sent_headers(headers: list[tuple[str, str]], call: Call) -> list[tuple[str, str]]:
    """Return the headers as the gateway sends them."""
    if call.api.kind == "http":
        sent = [pair for pair in headers if pair[0].lower() not in _DROPPED]
        return [*sent, ("Apigw-Requestid", call.ids.extended_request_id)]
    sent = [
        (f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name, value)
        for name, value in headers
        if name.lower() not in _REST_OWN
    ]
    return [
        *sent,
        ("x-amzn-RequestId", call.ids.request_id),
        ("x-amz-apigw-id", call.ids.extended_request_id),
        ("X-Amzn-Trace-Id", call.response_trace_id),
    ]


def _inferred(result: object) -> object:
    """Return a result in payload format 2.0. Without a status code it is the body."""
    if isinstance(result, dict) and "statusCode" in result:
        return result
    body = result if isinstance(result, str) else json.dumps(result)
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}


def _status(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:4])
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 599:
        raise MalformedResultError(f"statusCode {value!r} is not an HTTP status")
    return value


def _headers(result: Mapping[str, object]) -> list[tuple[str, str]]:
    merged: dict[str, tuple[str, list[str]]] = {}  # by lower-case name: first spelling, values
    for name, values in _object(result, "multiValueHeaders").items():
        if not isinstance(values, list):
            raise MalformedResultError(f"multiValueHeaders.{name} is not a list")
        merged.setdefault(name.lower(), (name, []))[1].extend(_header_value(name, value) for value in values)
    for name, value in _object(result, "headers").items():
        text = _header_value(name, value)
        known_values = merged.setdefault(name.lower(), (name, []))[1]
        if text not in known_values:
            known_values.append(text)
    cookies = result.get("cookies") or []
    if not isinstance(cookies, list):
        raise MalformedResultError("cookies is not a list")
    known_cookies = merged.setdefault("set-cookie", ("Set-Cookie", []))[1]
    known_cookies.extend(_header_value("Set-Cookie", cookie) for cookie in cookies)
    return [(name, value) for name, values in merged.values() for value in values]


def _object(result: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = result.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedResultError(f"{name} is not an object")
    return value


def _header_value(name: str, value: object) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise MalformedResultError(f"the value of header {name} is not a text or a number")
    text = str(value)
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
        raise MalformedResultError(f"header {name!r} cannot be sent")
    return text


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
