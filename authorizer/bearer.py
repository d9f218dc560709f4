"""The bearer token of an API Gateway authorizer event (RFC 6750 section 2.1).

REST TOKEN events carry the header's value; REST REQUEST, HTTP API (1.0 and 2.0) and WebSocket
events carry the request's headers, with names in whatever case the caller chose.
"""

import re
from collections.abc import Iterator, Mapping

from authorizer.errors import TokenRefused
from authorizer.reasons import Reason

_HEADER = "authorization"
_QUERY_PARAMETER = "access_token"
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")


def read_token(event: Mapping[str, object]) -> str:
    """Return the one bearer token of the request.

    Raises:
        TokenRefused: there is none, there are several, or it is sent in another way.
    """
    values = list(_authorization_values(event))
    if len(values) != 1:
        raise TokenRefused(Reason.CREDENTIALS_SEVERAL if values else Reason.CREDENTIALS_MISSING)
    match = _BEARER.fullmatch(values[0])
    if match is None:
        raise TokenRefused(_reason(values[0]))
    if _is_in_query(event):
        raise TokenRefused(Reason.CREDENTIALS_SEVERAL)
    return match[1]


def _authorization_values(event: Mapping[str, object]) -> Iterator[str]:
    if event.get("type") == "TOKEN":
        candidates = [event.get("authorizationToken")]
    else:
        # `headers` keeps the last of several headers with one name; `multiValueHeaders` keeps all.
        candidates = _header_values(event.get("multiValueHeaders") or event.get("headers"))
    for candidate in candidates:
        if not isinstance(candidate, str):
            raise TokenRefused(Reason.CREDENTIALS_MALFORMED)
        if candidate:
            yield candidate


def _header_values(headers: object) -> list[object]:
    if not isinstance(headers, dict):
        return []
    values: list[object] = []
    for name, value in headers.items():
        if len(name) == len(_HEADER) and name.lower() == _HEADER:
            values.extend(value if isinstance(value, list) else [value])
    return values


def _is_in_query(event: Mapping[str, object]) -> bool:
    query = event.get("queryStringParameters")
    return isinstance(query, dict) and _QUERY_PARAMETER in query


def _reason(value: str) -> Reason:
    """Say why a value is not `Bearer` and one token."""
    scheme, _, rest = value.partition(" ")
    if not value.strip():
        return Reason.CREDENTIALS_MISSING
    if scheme.lower() != "bearer":
        glued = scheme.lower().startswith("bearer")
        return Reason.CREDENTIALS_MALFORMED if glued else Reason.SCHEME_WRONG
    return Reason.CREDENTIALS_SEVERAL if "," in rest else Reason.CREDENTIALS_MALFORMED
