"""The gateway: one request in, one response out, as API Gateway would answer it."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
import threading
import time
import uuid
from typing import TYPE_CHECKING

from local.gateway.answers import Answers, Refusal, Situation
from local.gateway.authorization import Authorization
from local.gateway.events import Call, decoded_path, proxy_event
from local.gateway.invocation import FunctionError
from local.gateway.messages import Response
from local.gateway.results import MalformedResultError, response
from local.gateway.routing import Router
from local.place import LAPTOP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from local.gateway.invocation import Invoke
    from local.gateway.messages import Request
    from local.gateway.model import Api, RateLimit

__all__ = ["Gateway"]

_log = logging.getLogger(__name__)

_LEADING_SLASHES = re.compile("^/+")
_TRACE_ID = re.compile(
    r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;Parent=[0-9a-f]{16})?(;Sampled=[01])?", re.ASCII
)


class Gateway:
    """Plays one API.

    `clock` gives seconds since the epoch, `new_id` a fresh request id. `at_root` are paths that
    reach the API without its stage as well, as a custom domain's mapping of its root to the stage
    would let them; an execute-api address has nothing like it. Functions run in this process, so
    a time-out is answered when the function returns. `throttle` applies the routes' rate limits,
    each process by itself.
    """

    def __init__(
        self,
        api: Api,
        invoke: Invoke,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        at_root: Collection[str] = (),
        throttle: bool = True,
    ) -> None:
        self._api = api
        self._invoke = invoke
        self._clock = clock
        self._new_id = new_id
        self._at_root = frozenset(at_root)
        self._router = Router(api.routes)
        self._buckets = {
            (route.method, route.path): _TokenBucket(route.rate_limit, clock())
            for route in api.routes
            if throttle and route.rate_limit is not None
        }
        self._answers = Answers(api)
        self._authorization = Authorization(invoke, clock)

    def handle(self, request: Request) -> Response:
        """Answer a request; never raises for anything that a client or a function does."""
        situation = self._situation(request)
        path = self._within_stage(request.path)
        if path is None:
            return self._no_such_stage(situation)
        match = self._router.match(request.method, path)
        if match is None:
            return self._answers.render(self._no_such_route(request), situation)
        now = self._clock()
        call = Call(
            api=self._api,
            place=LAPTOP,
            request=request,
            route=match.route,
            sent_path=path,
            parameters=match.parameters,
            request_id=situation.request_id,
            extended_request_id=situation.extended_request_id,
            trace_id=_trace_id(request, now),
            requested_at=now,
        )
        try:
            return self._integrate(call)
        except Refusal as refusal:
            return self._answers.render(refusal, _told(situation, call, refusal))

    def too_large(self, request: Request) -> Response:
        """The answer to a request whose body is over the limit; its `body` was never read."""
        situation = self._situation(request)
        return self._answers.render(Refusal("REQUEST_TOO_LARGE"), situation)

    def flush_authorizers_cache(self) -> None:
        """Forget what authorizers have answered, as the FlushStageAuthorizersCache call does."""
        self._authorization.flush()

    def _situation(self, request: Request) -> Situation:
        """A REST API has two ids for a request, an HTTP API one."""
        extended = f"{secrets.token_urlsafe(11)}="
        return Situation(
            request, self._new_id() if self._api.kind == "rest" else extended, extended
        )

    def _integrate(self, call: Call) -> Response:
        bucket = self._buckets.get((call.route.method, call.route.path))
        if bucket is not None and not bucket.take(self._clock()):
            raise Refusal("THROTTLED")
        passed_on = self._authorization.authorize(call)
        started = self._clock()
        try:
            result = self._invoke(call.route.function, proxy_event(call, passed_on))
        except FunctionError as error:
            self._check_time(call, started)
            raise Refusal("API_CONFIGURATION_ERROR", status=502) from error
        self._check_time(call, started)
        try:
            return response(call, result)
        except MalformedResultError as error:
            _log.error("%s: malformed proxy response: %s", call.route.function, error)
            raise Refusal("API_CONFIGURATION_ERROR", status=502) from error

    def _check_time(self, call: Call, started: float) -> None:
        if self._clock() - started > call.route.timeout:
            raise Refusal("INTEGRATION_TIMEOUT")

    def _within_stage(self, path: str) -> str | None:
        """The path after the stage, or None when it names another stage."""
        if self._api.kind == "http":
            path = decoded_path(path)
        if self._api.stage == "$default" or path in self._at_root:
            return path
        path = _LEADING_SLASHES.sub("/", path)  # recorded: `//stage/x` reaches the stage, too
        prefix = f"/{self._api.stage}"
        if path == prefix:
            return "/"
        return path[len(prefix) :] if path.startswith(f"{prefix}/") else None

    def _no_such_route(self, request: Request) -> Refusal:
        """A REST API takes an Authorization header on an unknown route for a broken signature."""
        authorization = request.header("authorization")
        if self._api.kind == "http" or not authorization:
            return Refusal("MISSING_AUTHENTICATION_TOKEN")
        digest = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        return Refusal(
            "INVALID_SIGNATURE",
            message="Invalid key=value pair (missing equal-sign) in Authorization header (hashed "
            f"with SHA-256 and encoded with Base64): '{base64.b64encode(digest).decode()}'.",
        )

    def _no_such_stage(self, situation: Situation) -> Response:
        """Nothing that an API configures applies outside its stage."""
        if self._api.kind == "http":
            return self._answers.render(Refusal("MISSING_AUTHENTICATION_TOKEN"), situation)
        headers = (
            ("Content-Type", "application/json"),
            ("x-amzn-RequestId", situation.request_id),
            ("x-amz-apigw-id", situation.extended_request_id),
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
        """Whether the limit allows one more request."""
        with self._lock:
            refill = max(0.0, now - self._filled_at) * self._limit.rate
            self._tokens = min(self._limit.burst, self._tokens + refill)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _trace_id(request: Request, now: float) -> str:
    """The client's trace ID, or a new one."""
    sent = request.header("x-amzn-trace-id") or ""
    if _TRACE_ID.fullmatch(sent):
        return sent
    return f"Root=1-{int(now):08x}-{secrets.token_hex(12)}"


def _told(situation: Situation, call: Call, refusal: Refusal) -> Situation:
    request = call.request
    context = {
        "accountId": call.place.account_id,
        "apiId": call.api.api_id,
        "extendedRequestId": call.extended_request_id,
        "httpMethod": request.method,
        "identity.sourceIp": request.source_ip,
        "identity.userAgent": request.header("user-agent") or "",
        "path": call.stage_path,
        "protocol": request.protocol,
        "requestId": call.request_id,
        "requestTimeEpoch": str(int(call.requested_at * 1000)),
        "resourcePath": call.route.path,
        "stage": call.api.stage,
        **{f"authorizer.{name}": value for name, value in refusal.authorizer.items()},
    }
    return Situation(
        request, situation.request_id, situation.extended_request_id, context, call.parameters
    )
