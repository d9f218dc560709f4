"""Responses for API Gateway's proxy integration, and their JSON."""

from collections.abc import Callable, Mapping
from json import JSONEncoder, encoder
from typing import Any, TypedDict


def json_encoder(*, ensure_ascii: bool = True, compact: bool = False) -> Callable[[object], str]:
    """Return an encoder of JSON; `compact` is without spaces.

    It is the standard library's, prepared once instead of at each `json.dumps`. It raises TypeError
    and ValueError for values that JSON does not have.
    """
    item, key = (",", ":") if compact else (", ", ": ")
    plain = JSONEncoder(ensure_ascii=ensure_ascii, separators=(item, key), check_circular=False, allow_nan=False)
    in_c: Any = encoder.c_make_encoder  # type: ignore[attr-defined]  # None without C
    if in_c is None:
        return plain.encode
    quote = encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
    markers = indent = None  # no value contains itself
    sort_keys = skip_keys = allow_nan = False
    parts = in_c(markers, plain.default, quote, indent, key, item, sort_keys, skip_keys, allow_nan)
    return lambda value: "".join(parts(value, 0))


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
