"""The gateway: takes a request and returns the response of API Gateway."""

import base64
import hashlib
import logging
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from urllib.parse import unquote

from local.addresses import LAPTOP
from local.gateway.authorization import Authorization
from local.gateway.events import Call, RequestIds, proxy_event
from local.gateway.gateway_responses import GatewayError, GatewayResponses
from local.gateway.integration_response import MalformedResultError, response
from local.gateway.lambda_runtime import FunctionError, Invoke
from local.gateway.model import Api, Authorizer, RateLimit, Request, Response
from local.gateway.routing import Router, without_extra_slashes

_log = logging.getLogger(__name__)

_LEADING_SLASHES = re.compile("^/+")
_TRACE_ID = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;Parent=[0-9a-f]{16})?(;Sampled=[01])?", re.ASCII)


class Gateway:
    """Emulates one API.

    Functions run in this process and cannot be stopped. After a time-out, the server sends the response and the
    function continues.

    Args:
        api: the API.
        invoke: calls a function by its logical id.
        clock: returns seconds since the epoch.
        at_root: paths that reach the API without its stage as well. A custom domain does that if it maps its root to
            the stage; an execute-api address cannot.
        timeouts: seconds that each function may take, by its logical id.
        throttle: whether the routes' rate limits apply. Each process counts by itself.

    Raises:
        TemplateError: the issuer of a native JWT authorizer cannot be used.
    """

    def __init__(
        self,
        api: Api,
        invoke: Invoke,
        *,
        clock: Callable[[], float] = time.time,
        at_root: Collection[str] = (),
        timeouts: Mapping[str, float] = MappingProxyType({}),
        throttle: bool = True,
    ) -> None:
        self._api = api
        self._invoke = invoke
        self._clock = clock
        self._at_root = at_root
        self._timeouts = timeouts
        self._router = Router(api.routes)
        self._buckets = {
            (route.method, route.path): _TokenBucket(route.rate_limit, clock())
            for route in api.routes
            if throttle and route.rate_limit is not None
        }
        self._responses = GatewayResponses(api)
        self._authorization = Authorization(api, invoke, clock)

    def handle(self, request: Request) -> Response:
        """Answer a request. No request and no function can make this raise."""
        ids = self._new_ids()
        path = self._within_stage(request.path)
        if path is None:
            return self._no_such_stage(request, ids)
        match = self._router.match(request.method, path)
        if match is None:
            return self._responses.render(self._no_such_route(request), request, ids)
        now = self._clock()
        call = Call(
            api=self._api,
            account=LAPTOP,
            request=request,
            route=match.route,
            sent_path=path,
            parameters=match.parameters,
            ids=ids,
            trace_id=_trace_id(request, now),
            requested_at=now,
        )
        try:
            return self._integrate(call)
        except GatewayError as error:
            return self._responses.render(error, request, ids, call)

    def too_large(self, request: Request) -> Response:
        """The response to a request whose body exceeds the limit. Its `body` was not read."""
        return self._responses.render(GatewayError("REQUEST_TOO_LARGE"), request, self._new_ids())

    def flush_authorizers_cache(self) -> None:
        """Empty the authorizer cache, as the FlushStageAuthorizersCache call does."""
        self._authorization.flush()

    def _new_ids(self) -> RequestIds:
        extended = f"{secrets.token_urlsafe(11)}="
        return RequestIds(str(uuid.uuid4()) if self._api.kind == "rest" else extended, extended)

    def _integrate(self, call: Call) -> Response:
        bucket = self._buckets.get((call.route.method, call.route.path))
        if bucket is not None and not bucket.take(self._clock()):
            raise GatewayError("THROTTLED")
        if isinstance(call.route.authorizer, Authorizer):
            self._limit(call, call.route.authorizer.function, _authorizer_fault)
        passed_on = self._authorization.authorize(call)
        self._limit(call, call.route.function, _integration_fault)
        started = self._clock()
        try:
            result = self._invoke(call.route.function, proxy_event(call, passed_on))
            self._check_time(call, started)
            return response(call, result)
        except FunctionError as error:
            self._check_time(call, started)
            raise _integration_fault() from error
        except MalformedResultError as error:
            _log.error("%s: malformed proxy response: %s", call.route.function, error)
            raise _integration_fault() from error

    def _limit(self, call: Call, function: str, fault: Callable[[], GatewayError]) -> None:
        """Have the server answer for a function that exceeds a time-out.

        The shorter of two time-outs applies. A function has its own `Timeout`: a REST API then sends 502, an HTTP API
        500, and both send 500 for an authorizer. API Gateway waits 29 seconds for a REST API, then it is 504 "Endpoint
        request timed out". It waits 30 seconds for an HTTP API, then it is 503 "Service Unavailable". A template may
        set another time.
        """
        timeout = self._timeouts.get(function, call.route.timeout)
        seconds = min(timeout, call.route.timeout)

        def late() -> Response:
            _log.error("%s did not return within %.2f seconds", function, seconds)
            error = fault() if timeout < call.route.timeout else GatewayError("INTEGRATION_TIMEOUT")
            return self._responses.render(error, call.request, call.ids, call)

        if call.request.limit is not None:
            call.request.limit(seconds, late)

    def _check_time(self, call: Call, started: float) -> None:
        if self._clock() - started > call.route.timeout:
            raise GatewayError("INTEGRATION_TIMEOUT")

    def _within_stage(self, path: str) -> str | None:
        """The path after the stage, or None when it names another stage."""
        if self._api.kind == "http":
            path = unquote(path)
        if self._api.stage == "$default" or without_extra_slashes(path) in self._at_root:
            return path
        path = _LEADING_SLASHES.sub("/", path)  # recorded: `//stage/x` reaches the stage, too
        prefix = self._api.base_path
        if path == prefix:
            return "/"
        return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else None

    def _no_such_route(self, request: Request) -> GatewayError:
        """A REST API parses an Authorization header on an unknown route as a signature."""
        authorization = request.header("authorization")
        if self._api.kind == "http" or not authorization:
            return GatewayError("MISSING_AUTHENTICATION_TOKEN")
        digest = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        return GatewayError(
            "INVALID_SIGNATURE",
            message="Invalid key=value pair (missing equal-sign) in Authorization header (hashed "
            f"with SHA-256 and encoded with Base64): '{base64.b64encode(digest).decode()}'.",
        )

    def _no_such_stage(self, request: Request, ids: RequestIds) -> Response:
        """The response outside the stage, where the API's configuration does not apply."""
        if self._api.kind == "http":
            return self._responses.render(GatewayError("MISSING_AUTHENTICATION_TOKEN"), request, ids)
        headers = (
            ("Content-Type", "application/json"),
            ("x-amzn-RequestId", ids.request_id),
            ("x-amz-apigw-id", ids.extended_request_id),
            ("x-amzn-ErrorType", "ForbiddenException"),
        )
        return Response(403, headers, b'{"message":"Forbidden"}')


class _TokenBucket:
    """Counts the requests to one route."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._filled_at = now
        self._lock = threading.Lock()

    def take(self, now: float) -> bool:
        """Count a request; return False if it exceeds the limit."""
        with self._lock:
            refill = max(0.0, now - self._filled_at) * self._limit.rate
            self._tokens = min(self._limit.burst, self._tokens + refill)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _authorizer_fault() -> GatewayError:
    return GatewayError("AUTHORIZER_CONFIGURATION_ERROR")


def _integration_fault() -> GatewayError:
    return GatewayError("API_CONFIGURATION_ERROR", status=502)


def _trace_id(request: Request, now: float) -> str:
    """The client's trace ID, or a new one."""
    sent = request.header("x-amzn-trace-id") or ""
    if _TRACE_ID.fullmatch(sent):
        return sent
    return f"Root=1-{int(now):08x}-{secrets.token_hex(12)}"
