"""Errors in the words of RFC 6749, 5.2, and the one function that answers with them.

OAuthError
├── InvalidRequestError          400
│   └── MethodNotAllowedError    405, with Allow
├── InvalidClientError           401, with a challenge
├── UnauthorizedClientError      400
├── UnsupportedGrantTypeError    400
├── InvalidScopeError            400
├── InvalidTargetError           400
├── InvalidDpopProofError        400
├── UseDpopNonceError            400
├── TooManyFailuresError         429, with Retry-After
├── ServerError                  500
└── TemporarilyUnavailableError  503, with Retry-After
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from authorizer.metrics import Metric
from functions.shared.web.metrics import LOCKOUTS
from functions.shared.web.responses import NO_STORE, ProxyResponse, json_response

_NOT_IN_DESCRIPTIONS = re.compile(r"[^\x20-\x21\x23-\x5B\x5D-\x7E]")


class OAuthError(Exception):
    """Never raised itself. `description` is sent to the caller, `reason` only to the log."""

    code: ClassVar[str]
    status: ClassVar[int] = 400
    headers: Mapping[str, str] = {}
    default_description: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """What one of it counts for, beside a request with this outcome."""

    def __init__(self, description: str | None = None, *, reason: str | None = None) -> None:
        self.description = description or self.default_description
        self.reason = reason or self.description
        super().__init__(self.reason)


class InvalidRequestError(OAuthError):
    """Raised when a request is malformed, repeats a parameter or lacks one."""

    code = "invalid_request"
    default_description = "The request is malformed."


class MethodNotAllowedError(InvalidRequestError):
    """Raised when a path knows the request's method not at all. RFC 9110, 15.5.6."""

    status = 405
    default_description = "The method is not allowed here."

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__()
        self.headers = {"Allow": ", ".join(allowed)}


class InvalidClientError(OAuthError):
    """Raised when client authentication fails; its description never says why."""

    code = "invalid_client"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Basic realm="gatehouse"'}
    default_description = "Client authentication failed."


class UnauthorizedClientError(OAuthError):
    """Raised when the authenticated client may not use this grant type."""

    code = "unauthorized_client"
    default_description = "The client is not allowed to use this grant type."


class UnsupportedGrantTypeError(OAuthError):
    """Raised when the server does not know the grant type."""

    code = "unsupported_grant_type"
    default_description = "The grant type is not supported."


class InvalidScopeError(OAuthError):
    """Raised when a scope is malformed, unknown or not allowed for the client."""

    code = "invalid_scope"
    default_description = "A requested scope is unknown or not allowed for this client."


class InvalidTargetError(OAuthError):
    """Raised when a resource is malformed, unknown or not one that the client may address."""

    code = "invalid_target"
    default_description = "The requested resource is unknown or not allowed for this client."


class InvalidDpopProofError(OAuthError):
    """Raised when a DPoP proof is not good for this request. RFC 9449, 5."""

    code = "invalid_dpop_proof"
    default_description = "The DPoP proof is not acceptable."


class UseDpopNonceError(OAuthError):
    """Raised when a DPoP proof lacks a nonce of ours, or its nonce is old. RFC 9449, 8."""

    code = "use_dpop_nonce"
    default_description = "The DPoP proof needs the nonce of this answer's DPoP-Nonce header."


class TooManyFailuresError(OAuthError):
    """Raised when authentication has failed too often. RFC 6585, 4; the code is RFC 8628's, 3.5."""

    code = "slow_down"
    status = 429
    default_description = "Client authentication has failed too often. Try again later."
    metrics = (LOCKOUTS,)

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(retry_after)}


class ServerError(OAuthError):
    """Raised when something is wrong on our side and trying again will not help."""

    code = "server_error"
    status = 500
    default_description = "The server could not handle the request."


class TemporarilyUnavailableError(OAuthError):
    """Raised when something is wrong on our side and trying again may help."""

    code = "temporarily_unavailable"
    status = 503
    headers: Mapping[str, str] = {"Retry-After": "1"}
    default_description = "The server cannot handle the request just now. Try again."


def to_response(error: OAuthError) -> ProxyResponse:
    """Answer with an error: code and description, never its reason or its cause."""
    members = {
        "error": error.code,
        "error_description": _NOT_IN_DESCRIPTIONS.sub("?", error.description),
    }
    return json_response(error.status, members, {**NO_STORE, **error.headers})
