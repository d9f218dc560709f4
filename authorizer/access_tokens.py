"""Access tokens, verified in process: the public interface of the library.

It checks what the Lambda authorizer checks, with the same code.
"""

import json
import logging
import os
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypedDict, Unpack, cast
from urllib.parse import parse_qs, unquote

from . import https_client
from .app import AuthorizerFactory
from .cache import jitter
from .claims import DPOP_KEY, VerifiedToken
from .clock import Clocks, Deadline
from .errors import (
    AuthorizerUnavailableError,
    InvalidProofError,
    InvalidTokenError,
    KeyLookupDeferredError,
    KeySetUnavailableError,
    Reason,
)
from .event import AuthorizerEvent
from .jwks_cache import JwksCache
from .jws import PROOF_ALGORITHMS
from .metrics import record_nothing
from .settings import Settings, SettingsError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

RETRY_AFTER = 5
"""Seconds, in the response to an internal failure."""

_MAX_FETCHING_THREADS = 32
_LOG = logging.getLogger("gatehouse")
_key_caches: dict[Hashable, JwksCache] = {}


class HttpRequest(NamedTuple):
    """A request. `path` is the escaped path of its URL, unless `path_was_decoded`."""

    method: str
    path: str
    headers: Iterable[tuple[str, str]]
    query: str = ""
    path_was_decoded: bool = False


Request = str | HttpRequest | Mapping[str, object]
"""A token, a request, or the event of a Lambda function (API Gateway, function URL, load balancer)."""


class Options(TypedDict, total=False):
    """Settings of the Lambda authorizer in lower case. None is the default. Times are in seconds."""

    jwks_uri: str | None
    other_issuers: Mapping[str, Mapping[str, object]] | None
    client_ids: Collection[str] | None
    algorithms: Collection[str] | None
    require_at_jwt: bool
    max_token_lifetime: float
    jwks_soft_age: float
    jwks_hard_age: float
    jwks_cool_down: float
    jwks_seed: str | None
    fetch_timeout: float
    introspection_uri: str | None
    introspection_client_id: str | None
    introspection_client_secret: str | None
    introspection_secret_arn: str | None
    introspection_cache: float
    proof_of_possession: Collection[str] | None
    resource: str | None
    replay_table: str | None
    replays_in_memory: bool
    deny_list_table: str | None
    deny_list_soft_age: float
    deny_list_hard_age: float
    remembered_tokens: int


class AccessTokenError(Exception):
    """Raised when a request is rejected, and when the tokens cannot be verified now.

    `status` is 400, 401, 403 or 503. `error` is the error code of RFC 6750 and RFC 9449, None if the
    request has no token. `headers` and `body` are the response.
    """

    def __init__(self, reason: Reason, status: int, error: str | None, headers: dict[str, str]) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.status = status
        self.error = error
        self.headers = {**headers, "Content-Type": "application/json", "Cache-Control": "no-store"}

    @property
    def body(self) -> bytes:
        """The response as JSON."""
        return json.dumps({"error": self.error or "unauthorized"}).encode()


class AccessTokens:
    """Verifies the access tokens of one API. Thread-safe; create one when the process starts.

    All objects of a process share the key set of an issuer.

    Args:
        issuer: the `iss` of tokens, byte for byte.
        audience: this API's identifier or identifiers, of which a token needs one. None accepts
            tokens for any audience.
        certificate_header: the header in which a proxy sends the client's certificate (PEM, escaped
            as in a URL, or RFC 9440). The proxy must remove this header from the client's request.
        resource_metadata: the URL of the API's metadata (RFC 9728), for challenges.
        options: further settings.

    Raises:
        SettingsError: a setting is not valid, or is missing.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Collection[str] | None,
        certificate_header: str | None = None,
        resource_metadata: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        settings = _read_settings({"issuer": issuer, "audience": audience, **options})
        methods = settings.confirmation_methods
        if DPOP_KEY in methods and settings.resource is None:
            raise SettingsError(["PROOF_OF_POSSESSION by dpop needs RESOURCE, which proofs are compared with"])
        self.issuer = issuer
        self.audiences = settings.audiences
        self.certificate_header = certificate_header and certificate_header.lower()
        self._fetch_timeout = settings.fetch_timeout
        issuers = " or ".join(each.issuer for each in settings.issuers)
        self._expected = f"expected issuer {issuers}, audience {' or '.join(sorted(self.audiences)) or 'any'}"
        self._key_set = settings.jwks_uri or "named by the issuer's metadata"
        self._executors: dict[int, ThreadPoolExecutor] = {}
        self.metadata = _metadata_parameter(resource_metadata) if resource_metadata else ""
        self._accepts_dpop = DPOP_KEY in methods
        self._headers = frozenset(("authorization", "dpop", self.certificate_header))
        clocks = Clocks(time.time, time.monotonic)
        factory = AuthorizerFactory(settings, clocks, _key_caches, jitter=jitter, send=_send, record=record_nothing)
        self._authorizer = factory.make(None, frozenset())

    def verify(self, request: Request, *scopes: str) -> VerifiedToken:
        """Return the verified token of a request that has all of these scopes.

        A key that is bound to a token is proved by a request, and never by a token alone.

        Raises:
            AccessTokenError: the request is rejected, or cannot be verified now.
        """
        return self._verify(request, scopes, Deadline(self._fetch_timeout))

    async def verify_async(self, request: Request, *scopes: str) -> VerifiedToken:
        """Return the same as `verify`, without blocking the event loop.

        Verification with cached keys takes microseconds and runs at once. A fetch runs in a thread.

        Raises:
            AccessTokenError: the request is rejected, or cannot be verified now.
        """
        try:
            return self._verify(request, scopes, _NoWaiting())
        except _WouldBlockError:
            from asyncio import get_running_loop  # a Lambda function that is not asynchronous starts 20 ms sooner

            return await get_running_loop().run_in_executor(self._executor(), partial(self.verify, request, *scopes))

    def require(self, token: VerifiedToken, *scopes: str) -> VerifiedToken:
        """Return the token if it has all of these scopes.

        Raises:
            AccessTokenError: it lacks a scope. The status is 403.
        """
        if token.scopes.issuperset(scopes):
            return token
        _LOG.info("%s of client %s", Reason.SCOPE_INSUFFICIENT, token.client_id)
        is_dpop_bound = token.confirmation is not None and token.confirmation.method == DPOP_KEY
        scheme = "DPoP" if is_dpop_bound else "Bearer"
        value = challenge(scheme, 'error="insufficient_scope"', f'scope="{" ".join(scopes)}"', self.metadata)
        raise AccessTokenError(Reason.SCOPE_INSUFFICIENT, 403, "insufficient_scope", {"WWW-Authenticate": value})

    def _executor(self) -> "ThreadPoolExecutor":
        """Return the threads that wait for fetches, apart from the event loop's own. A forked process has new ones."""
        from concurrent.futures import ThreadPoolExecutor

        made = self._executors.get(os.getpid()) or ThreadPoolExecutor(_MAX_FETCHING_THREADS, "gatehouse")
        return self._executors.setdefault(os.getpid(), made)

    def _verify(self, request: Request, scopes: tuple[str, ...], deadline: Deadline) -> VerifiedToken:
        try:
            token = self._authorizer.authorize(self._event(request), deadline).token
        except InvalidTokenError as error:
            self._reject(error)
        except AuthorizerUnavailableError as error:
            details = ""
            if isinstance(error, KeySetUnavailableError):
                cause = error.__cause__ or "no request is sent shortly after a failed one"
                details = f": {cause}; {self._expected}, key set {self._key_set}"
            _LOG.error("%s%s", error.reason, details)
            raise _unavailable(error.reason) from error
        except Exception as error:
            _LOG.exception("unexpected")
            raise _unavailable(Reason.UNEXPECTED) from error
        return self.require(token, *scopes)

    def _event(self, request: Request) -> AuthorizerEvent:
        if isinstance(request, str):
            if request.startswith(" "):  # a header may have several spaces before its token
                raise InvalidTokenError(Reason.SEGMENT_WHITESPACE)
            return AuthorizerEvent({"type": "TOKEN", "authorizationToken": f"Bearer {request}"})
        event = self._to_event(request) if isinstance(request, HttpRequest) else request
        return _ProxiedEvent(event, self.certificate_header) if self.certificate_header else AuthorizerEvent(event)

    def _to_event(self, request: HttpRequest) -> dict[str, object]:
        """Write a request as the event of a load balancer, which has the same members."""
        headers: dict[str, list[str]] = {}
        for name, value in request.headers:
            if (lower := name.lower()) in self._headers:
                headers.setdefault(lower, []).append(value)
        event: dict[str, object] = {
            "httpMethod": request.method,
            "path": request.path,
            "multiValueHeaders": headers,
            "requestContext": {"elb": {}},
        }
        if "access_token" in request.query:
            event["queryStringParameters"] = parse_qs(request.query, keep_blank_values=True)
        if request.path_was_decoded:
            event["version"] = "1.0"
        return event

    def _reject(self, error: InvalidTokenError) -> NoReturn:
        """Raise the response to an invalid token or proof (RFC 6750, 3; RFC 9449, 7.1)."""
        reason = error.reason
        _LOG.info("%s: %s", reason, self._expected)
        code: str | None = "invalid_token"
        if reason in (Reason.CREDENTIALS_MISSING, Reason.SCHEME_WRONG):
            code = None
        elif reason is Reason.CREDENTIALS_SEVERAL:
            code = "invalid_request"
        elif isinstance(error, InvalidProofError):
            code = "invalid_dpop_proof"
        fault = f'error="{code}"' if code else ""
        value = challenge("Bearer", "" if code == "invalid_dpop_proof" else fault, self.metadata)
        if self._accepts_dpop:
            algorithms = f'algs="{" ".join(sorted(PROOF_ALGORITHMS))}"'
            value = f"{challenge('DPoP', algorithms, fault)}, {value}"
        headers = {"WWW-Authenticate": value}
        if isinstance(error, KeyLookupDeferredError):
            headers["Retry-After"] = str(int(error.retry_after) + 1)
        raise AccessTokenError(reason, 400 if code == "invalid_request" else 401, code, headers) from error


def challenge(scheme: str, *parameters: str) -> str:
    """Return the challenge of a scheme with those parameters that are not empty (RFC 9110, 11.6.1)."""
    return f"{scheme} {', '.join(filter(None, parameters))}".rstrip()


def _read_settings(options: Mapping[str, object]) -> Settings:
    environ = {name.upper(): _text(name, value) for name, value in options.items() if value is not None}
    return Settings.from_env(environ)


def _metadata_parameter(url: str) -> str:
    """Return the parameter of a challenge (RFC 9728, 5.1)."""
    try:
        https_client.parse_url(url, allow_http=True)
    except ValueError:
        raise SettingsError(["RESOURCE_METADATA is not a URL"]) from None
    return f'resource_metadata="{url}"'


def _text(name: str, value: object) -> str:
    """Write a setting as the Lambda authorizer's environment has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.6f}" if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, str) and name != "audience":
        return _checked(name, [value])
    texts = as_tuple(cast("str | Iterable[str]", value))
    if any("," in text for text in texts):
        raise SettingsError([f"{name.upper()} has a member with a comma"])
    return _checked(name, texts)


def _checked(name: str, texts: Sequence[str]) -> str:
    """Reject an empty setting: it could otherwise mean any client, or any audience."""
    if not texts or not all(texts):
        raise SettingsError([f"{name.upper()} is empty, or has an empty member"])
    return ",".join(texts)


def as_tuple(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Return several texts, or one that is not in a collection."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _unavailable(reason: Reason) -> AccessTokenError:
    return AccessTokenError(reason, 503, "temporarily_unavailable", {"Retry-After": str(RETRY_AFTER)})


def _send(request: https_client.Request) -> https_client.Response:
    request.deadline.remaining()
    return https_client.send(request)


class _ProxiedEvent(AuthorizerEvent):
    """A request whose client certificate is in a header of the proxy, and nowhere else."""

    __slots__ = ("_certificate_header",)

    def __init__(self, event: Mapping[str, object], certificate_header: str) -> None:
        super().__init__(event)
        self._certificate_header = certificate_header

    def client_certificate(self) -> str | None:
        """Return the certificate in PEM."""
        values = self._header(self._certificate_header)
        if not values:
            return None
        value = values[0]
        if len(values) > 1 or not isinstance(value, str):
            raise InvalidTokenError(Reason.CERTIFICATE_MALFORMED)
        if value.startswith(":"):  # RFC 9440, 2.1
            return f"-----BEGIN CERTIFICATE-----\n{value.strip(':')}\n-----END CERTIFICATE-----"
        return unquote(value)


class _WouldBlockError(BaseException):
    """Raised instead of waiting. Not an `Exception`, which caches count as a failed load."""


class _NoWaiting(Deadline):
    """A deadline for code on an event loop: whatever asks for the time left would wait."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0.0)

    def remaining(self) -> float:
        """Raise."""
        raise _WouldBlockError
