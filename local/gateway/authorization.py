"""Ask a Lambda authorizer, remember its answer, and judge the request by it.

What is remembered is the policy, keyed by the identity sources; every request is judged by it
anew. Sources: API Gateway Developer Guide, "Use API Gateway Lambda authorizers", "Output from an
API Gateway Lambda authorizer" and "Control access to HTTP APIs with Lambda authorizers".
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.gateway.answers import Refusal
from local.gateway.events import authorizer_event, query_parameters
from local.gateway.invocation import FunctionError
from local.gateway.policy import Policy, PolicyError, Verdict, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.gateway.events import Call
    from local.gateway.invocation import Invoke
    from local.gateway.model import Authorizer, IdentitySource

__all__ = ["Authorization"]

_ACTION = "execute-api:Invoke"
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """An authorizer's answer: a policy, or a simple response's yes or no."""

    policy: Policy | bool
    context: Mapping[str, object]
    principal: str | None


class Authorization:
    """Every authorizer of one API, with its result cache."""

    def __init__(self, invoke: Invoke, clock: Callable[[], float]) -> None:
        self._invoke = invoke
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[str, ...], tuple[float, _Answer]] = OrderedDict()

    def authorize(self, call: Call) -> dict[str, object] | None:
        """What the function may know of the caller, or None when the route is open.

        Raises:
            Refusal: UNAUTHORIZED, ACCESS_DENIED or
                AUTHORIZER_CONFIGURATION_ERROR.
        """
        authorizer = call.route.authorizer
        if authorizer is None:
            return None
        identity = _identity(call, authorizer)
        started = self._clock()
        answer, fresh = self._answer(call, authorizer, identity)
        self._judge(call, answer)
        latency = int((self._clock() - started) * 1000) if fresh else 0
        if authorizer.payload_format == "2.0":
            return dict(answer.context)
        passed_on: dict[str, object] = dict(answer.context)
        if answer.principal is not None:
            passed_on["principalId"] = answer.principal
        passed_on["integrationLatency"] = latency
        return passed_on

    def flush(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._remembered.clear()

    def _answer(
        self, call: Call, authorizer: Authorizer, identity: tuple[str, ...]
    ) -> tuple[_Answer, bool]:
        key = (authorizer.name, *identity)
        cached = authorizer.cache_seconds > 0 and bool(identity)
        now = self._clock()
        if cached:
            with self._lock:
                found = self._remembered.get(key)
            if found is not None and now < found[0]:
                return found[1], False
        answer = self._ask(call, authorizer, identity)
        if cached:
            with self._lock:
                self._remembered[key] = (now + authorizer.cache_seconds, answer)
                self._remembered.move_to_end(key)
                while len(self._remembered) > _MAX_REMEMBERED:
                    self._remembered.popitem(last=False)
        return answer, True

    def _ask(self, call: Call, authorizer: Authorizer, identity: tuple[str, ...]) -> _Answer:
        try:
            result = self._invoke(authorizer.function, authorizer_event(call, identity))
        except FunctionError as error:
            if error.message == "Unauthorized":
                raise Refusal("UNAUTHORIZED") from error
            raise Refusal("AUTHORIZER_CONFIGURATION_ERROR") from error
        if not isinstance(result, dict):
            raise Refusal("AUTHORIZER_CONFIGURATION_ERROR")
        nested = call.api.kind == "http" and authorizer.payload_format == "2.0"
        context = _context(result.get("context"), nested=nested)
        if authorizer.simple_responses:
            allowed = result.get("isAuthorized")
            if not isinstance(allowed, bool):
                raise Refusal("AUTHORIZER_CONFIGURATION_ERROR")
            return _Answer(allowed, context, None)
        principal = result.get("principalId")
        if not isinstance(principal, str) or not principal:
            raise Refusal("AUTHORIZER_CONFIGURATION_ERROR")
        try:
            return _Answer(parse(result.get("policyDocument")), context, principal)
        except PolicyError as error:
            raise Refusal("AUTHORIZER_CONFIGURATION_ERROR") from error

    def _judge(self, call: Call, answer: _Answer) -> None:
        if isinstance(answer.policy, bool):
            verdict = Verdict.ALLOWED if answer.policy else Verdict.NOT_ALLOWED
        else:
            verdict = _judged(answer.policy, call, _condition_keys(call, self._clock()))
        if verdict is Verdict.ALLOWED:
            return
        message = None
        if verdict is Verdict.EXPLICITLY_DENIED:
            message = "User is not authorized to access this resource with an explicit deny"
        refusal = Refusal("ACCESS_DENIED", message=message)
        refusal.authorizer = {
            **{name: str(value) for name, value in answer.context.items()},
            **({"principalId": answer.principal} if answer.principal else {}),
        }
        raise refusal


def _judged(policy: Policy, call: Call, context: Mapping[str, str]) -> Verdict:
    """The most permissive verdict on the call's ARNs.

    AWS does not document which spelling of a path it evaluates. A policy that is right for one
    spelling only must fail here, not in an account.
    """
    verdicts = {policy.judge(_ACTION, arn, context) for arn in call.method_arns}
    for verdict in (Verdict.ALLOWED, Verdict.EXPLICITLY_DENIED):
        if verdict in verdicts:
            return verdict
    return Verdict.NOT_ALLOWED


def _identity(call: Call, authorizer: Authorizer) -> tuple[str, ...]:
    """Values of the identity sources.

    Raises:
        Refusal: one is missing or empty, or a TOKEN does not match the validation expression.
    """
    values: list[str] = []
    for source in authorizer.identity_sources:
        value = _source_value(call, source)
        if not value:
            raise Refusal("UNAUTHORIZED")
        values.append(value)
    expression = authorizer.validation_expression
    if expression is not None and not re.fullmatch(expression, values[0]):
        raise Refusal("UNAUTHORIZED")
    return tuple(values)


def _source_value(call: Call, source: IdentitySource) -> str | None:
    if source.place == "header":
        return call.request.header(source.name)
    if source.place == "querystring":
        return dict(query_parameters(call.api, call.request)).get(source.name)
    if source.place == "stage_variable":
        return call.api.stage_variables.get(source.name)
    return {
        "httpMethod": call.request.method,
        "identity.sourceIp": call.request.source_ip,
        "identity.userAgent": call.request.header("user-agent"),
        "path": call.stage_path,
        "resourcePath": call.route.path,
        "routeKey": call.route.key,
        "stage": call.api.stage,
    }.get(source.name)


def _context(declared: object, *, nested: bool) -> dict[str, object]:
    """The context that an authorizer returned; only payload format 2.0 keeps what is nested."""
    if declared is None:
        return {}
    if not isinstance(declared, dict):
        raise Refusal("AUTHORIZER_CONFIGURATION_ERROR")
    if nested:
        return dict(declared)
    context: dict[str, object] = {}
    for name, value in declared.items():
        if not isinstance(value, str | bool | int | float):
            raise Refusal("AUTHORIZER_CONFIGURATION_ERROR")
        context[name] = value if isinstance(value, str) else json.dumps(value)
    return context


def _condition_keys(call: Call, now: float) -> dict[str, str]:
    keys = {
        "aws:currenttime": datetime.fromtimestamp(now, UTC).isoformat(),
        "aws:epochtime": str(int(now)),
        "aws:securetransport": "true",
        "aws:sourceip": call.request.source_ip,
    }
    for key, header in (("aws:useragent", "user-agent"), ("aws:referer", "referer")):
        value = call.request.header(header)
        if value is not None:
            keys[key] = value
    return keys
