"""The access token of an API Gateway authorizer event (RFC 6750 section 2.1, RFC 9449 section 7.1).

REST TOKEN events carry the header's value; REST REQUEST, HTTP API (1.0 and 2.0) and WebSocket
events carry the request's headers, with names in whatever case the caller chose.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from authorizer.errors import TokenRefused
from authorizer.reasons import Reason
from authorizer.request import header_values

_HEADER = "authorization"
_QUERY_PARAMETER = "access_token"
_CREDENTIALS = re.compile(r"(?i:(dpop)|bearer) +([A-Za-z0-9._~+/-]+=*)")
_SCHEMES = ("bearer", "dpop")


class Presented(NamedTuple):
    """A token as the caller presents it: as a bearer, or with a proof to come (RFC 9449)."""

    token: str
    with_proof: bool = False


def read_token(event: Mapping[str, object]) -> Presented:
    """Return the one access token of the request.

    Raises:
        TokenRefused: there is none, there are several, or it is sent in another way.
    """
    values = _authorization_values(event)
    if len(values) != 1:
        raise TokenRefused(Reason.CREDENTIALS_SEVERAL if values else Reason.CREDENTIALS_MISSING)
    match = _CREDENTIALS.fullmatch(values[0])
    if match is None:
        raise TokenRefused(_reason(values[0]))
    if _is_in_query(event):
        raise TokenRefused(Reason.CREDENTIALS_SEVERAL)
    return Presented(match[2], match[1] is not None)


def _authorization_values(event: Mapping[str, object]) -> list[str]:
    if event.get("type") == "TOKEN":
        candidates = [event.get("authorizationToken")]
    else:
        candidates = header_values(event, _HEADER)
    values = []
    for candidate in candidates:
        if not isinstance(candidate, str):
            raise TokenRefused(Reason.CREDENTIALS_MALFORMED)
        if candidate:
            values.append(candidate)
    return values


def _is_in_query(event: Mapping[str, object]) -> bool:
    query = event.get("queryStringParameters")
    return isinstance(query, dict) and _QUERY_PARAMETER in query


def _reason(value: str) -> Reason:
    """Say why a value is not a scheme of ours and one token."""
    scheme, _, rest = value.partition(" ")
    if not value.strip():
        return Reason.CREDENTIALS_MISSING
    if scheme.lower() not in _SCHEMES:
        glued = scheme.lower().startswith(_SCHEMES)
        return Reason.CREDENTIALS_MALFORMED if glued else Reason.SCHEME_WRONG
    return Reason.CREDENTIALS_SEVERAL if "," in rest else Reason.CREDENTIALS_MALFORMED
