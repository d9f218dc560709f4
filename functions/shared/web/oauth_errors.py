"""OAuth errors. RFC 6749, 5.2."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from authorizer.metrics import Metric

from ..metrics import LOCKOUTS


class OAuthError(Exception):
    """Base class. `description` is sent to the caller, `reason` is only logged."""

    code: ClassVar[str]
    status: ClassVar[int] = 400
    headers: Mapping[str, str] = {}
    default_description: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """Metrics that count an error, in addition to the request's outcome."""

    def __init__(self, description: str | None = None, *, reason: str | None = None) -> None:
        self.description = description or self.default_description
        self.reason = reason or self.description
        super().__init__(self.reason)


class InvalidRequestError(OAuthError):
    """Raised when a request is malformed, repeats a parameter or lacks one."""

    code = "invalid_request"
    default_description = "The request is malformed."


class MethodNotAllowedError(InvalidRequestError):
    """Raised when a path does not support the request's method. RFC 9110, 15.5.6."""

    status = 405
    default_description = "The method is not allowed here."

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__()
        self.headers = {"Allow": ", ".join(allowed)}


class InvalidClientError(OAuthError):
    """Raised when client authentication fails. The description does not state the reason."""

    code = "invalid_client"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Basic realm="gatehouse"'}
    default_description = "Client authentication failed."


class InvalidGrantError(OAuthError):
    """Raised when an assertion is not a grant here. The description does not state the reason. RFC 7521, 4.1.1."""

    code = "invalid_grant"
    default_description = "The assertion is not acceptable."


class UnauthorizedClientError(OAuthError):
    """Raised when the authenticated client may not use this grant type."""

    code = "unauthorized_client"
    default_description = "The client is not allowed to use this grant type."


class UnsupportedGrantTypeError(OAuthError):
    """Raised when the grant type is unknown."""

    code = "unsupported_grant_type"
    default_description = "The grant type is not supported."


class UnsupportedResponseTypeError(OAuthError):
    """Raised when a request asks for a code or token at the authorization endpoint. RFC 6749, 4.1.2.1."""

    code = "unsupported_response_type"
    headers: Mapping[str, str] = {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    default_description = "This server issues tokens to machines only. Request them at the token endpoint."


class InvalidScopeError(OAuthError):
    """Raised when a scope is malformed, unknown or not allowed for the client."""

    code = "invalid_scope"
    default_description = "A requested scope is unknown or not allowed for this client."


class InvalidTargetError(OAuthError):
    """Raised when a resource is malformed, unknown or not allowed for the client."""

    code = "invalid_target"
    default_description = "The requested resource is unknown or not allowed for this client."


class InvalidDpopProofError(OAuthError):
    """Raised when a DPoP proof is not valid for the request. RFC 9449, 5."""

    code = "invalid_dpop_proof"
    default_description = "The DPoP proof is not acceptable."


class UseDpopNonceError(OAuthError):
    """Raised when a DPoP proof lacks a server nonce, or its nonce has expired. RFC 9449, 8."""

    code = "use_dpop_nonce"
    default_description = "The DPoP proof needs the nonce of this response's DPoP-Nonce header."


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
    """Raised for an internal error that a retry does not resolve."""

    code = "server_error"
    status = 500
    default_description = "The server could not handle the request."


class TemporarilyUnavailableError(OAuthError):
    """Raised for an internal error that a retry may resolve."""

    code = "temporarily_unavailable"
    status = 503
    headers: Mapping[str, str] = {"Retry-After": "1"}
    default_description = "The server cannot handle the request just now. Try again."
