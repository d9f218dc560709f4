"""The access token of an API Gateway authorizer event (RFC 6750, 2.1; RFC 9449, 7.1).

REST TOKEN events carry the header's value; REST REQUEST, HTTP API (1.0 and 2.0) and WebSocket
events carry the request's headers, with names in whatever case the caller chose.
"""

from collections.abc import Mapping
from typing import NamedTuple

from authorizer.errors import InvalidTokenError, Reason
from authorizer.request import header_values

_HEADER = "authorization"
_QUERY_PARAMETER = "access_token"
_DPOP = "dpop"
_SCHEMES = ("bearer", _DPOP)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"


class PresentedToken(NamedTuple):
    """A token as the caller presents it: as a bearer, or with a proof to come (RFC 9449)."""

    token: str
    with_proof: bool = False


def read_token(event: Mapping[str, object]) -> PresentedToken:
    """Return the one access token of the request.

    Raises:
        InvalidTokenError: there is none, there are several, or it is sent in another way.
    """
    values = _authorization_values(event)
    if len(values) != 1:
        raise InvalidTokenError(
            Reason.CREDENTIALS_SEVERAL if values else Reason.CREDENTIALS_MISSING
        )
    scheme, _, rest = values[0].partition(" ")
    scheme, token = scheme.lower(), rest.lstrip(" ")
    if scheme not in _SCHEMES or not _is_b64token(token):
        raise InvalidTokenError(_reason(scheme, rest))
    if _is_in_query(event):
        raise InvalidTokenError(Reason.CREDENTIALS_SEVERAL)
    return PresentedToken(token, scheme == _DPOP)


def _authorization_values(event: Mapping[str, object]) -> list[str]:
    if event.get("type") == "TOKEN":
        candidates = [event.get("authorizationToken")]
    else:
        candidates = header_values(event, _HEADER)
    values = []
    for candidate in candidates:
        if not isinstance(candidate, str):
            raise InvalidTokenError(Reason.CREDENTIALS_MALFORMED)
        values.append(candidate)
    return values


def _is_in_query(event: Mapping[str, object]) -> bool:
    query = event.get("queryStringParameters")
    return isinstance(query, dict) and _QUERY_PARAMETER in query


def _is_b64token(text: str) -> bool:
    """Tell whether a text has the form of a token. Faster than a pattern, on every request."""
    core = text.rstrip("=")
    return bool(core) and core.isascii() and not core.encode().translate(None, _ALPHABET)


def _reason(scheme: str, rest: str) -> Reason:
    """Say why a value is not a scheme of ours and one token."""
    if not f"{scheme}{rest}".strip():
        return Reason.CREDENTIALS_MISSING
    if scheme not in _SCHEMES:
        glued = scheme.startswith(_SCHEMES)
        return Reason.CREDENTIALS_MALFORMED if glued else Reason.SCHEME_WRONG
    return Reason.CREDENTIALS_SEVERAL if "," in rest else Reason.CREDENTIALS_MALFORMED
