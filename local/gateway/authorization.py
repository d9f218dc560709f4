"""Invoke Lambda authorizers, cache their responses, and evaluate them for each request.

Native JWT authorizers are in `native_jwt`. The cache holds policies by the values of the identity sources. API Gateway
Developer Guide: "Use API Gateway Lambda authorizers"; "Output from an API Gateway Lambda authorizer"; "Control access
to HTTP APIs with Lambda authorizers".
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from authorizer.cache import LRUCache
from local.gateway.events import Call, authorizer_event, query_parameters
from local.gateway.gateway_responses import GatewayError
from local.gateway.lambda_runtime import FunctionError, Invoke
from local.gateway.model import Api, Authorizer, IdentitySource, JwtAuthorizer
from local.gateway.native_jwt import JwtAuthorizers
from local.gateway.policy_evaluator import Policy, PolicyError, Verdict, parse

_ACTION = "execute-api:Invoke"
_MAX_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class _Response:
    """An authorizer's response: a policy, or the boolean of a simple response, and the context for the function."""

    policy: Policy | bool
    context: Mapping[str, object]


class Authorization:
    """Every authorizer of one API, with a cache.

    Raises:
        TemplateError: the issuer of a native JWT authorizer cannot be used.
    """

    def __init__(self, api: Api, invoke: Invoke, clock: Callable[[], float]) -> None:
        self._jwt_authorizers = JwtAuthorizers(api, clock)
        self._invoke = invoke
        self._clock = clock
        self.flush()

    def authorize(self, call: Call) -> dict[str, object] | None:
        """The authorizer context for the function, or None if the route is open.

        Raises:
            GatewayError: UNAUTHORIZED, ACCESS_DENIED, AUTHORIZER_FAILURE or AUTHORIZER_CONFIGURATION_ERROR.
        """
        authorizer = call.route.authorizer
        if authorizer is None:
            return None
        if isinstance(authorizer, JwtAuthorizer):
            return self._jwt_authorizers.authorize(call, authorizer, _source_value(call, authorizer.source))
        identity = _identity(call, authorizer)
        started = self._clock()
        response, fresh = self._cached_response(call, authorizer, identity)
        self._evaluate(call, response)
        latency = int((self._clock() - started) * 1000) if fresh else 0
        if authorizer.payload_format == "2.0":
            return dict(response.context)
        return {**response.context, "integrationLatency": latency}

    def flush(self) -> None:
        """Forget every response."""
        self._cache: LRUCache[tuple[str, ...], tuple[float, _Response]] = LRUCache(_MAX_CACHED)

    def _cached_response(self, call: Call, authorizer: Authorizer, identity: tuple[str, ...]) -> tuple[_Response, bool]:
        key = (authorizer.name, *identity)
        cached = authorizer.cache_seconds > 0 and bool(identity)
        now = self._clock()
        if cached and (found := self._cache.get(key)) and now < found[0]:
            return found[1], False
        response = self._invoke_authorizer(call, authorizer, identity)
        if cached:
            self._cache.put(key, (now + authorizer.cache_seconds, response))
        return response, True

    def _invoke_authorizer(self, call: Call, authorizer: Authorizer, identity: tuple[str, ...]) -> _Response:
        try:
            result = self._invoke(authorizer.function, authorizer_event(call, authorizer, identity))
            return _read_result(result, authorizer, nested=call.api.kind == "http")
        except FunctionError as error:
            is_rejection = error.message == "Unauthorized"
            raise GatewayError("UNAUTHORIZED" if is_rejection else "AUTHORIZER_CONFIGURATION_ERROR") from error
        except PolicyError as error:
            raise GatewayError("AUTHORIZER_CONFIGURATION_ERROR") from error

    def _evaluate(self, call: Call, response: _Response) -> None:
        if isinstance(response.policy, bool):
            verdict = Verdict.ALLOWED if response.policy else Verdict.NOT_ALLOWED
        else:
            verdict = _most_permissive(response.policy, call, _condition_keys(call, self._clock()))
        if verdict is Verdict.ALLOWED:
            return
        message = None
        if verdict is Verdict.EXPLICITLY_DENIED:
            message = "User is not authorized to access this resource with an explicit deny"
        raise GatewayError("ACCESS_DENIED", message=message, authorizer=response.context)


def _read_result(result: object, authorizer: Authorizer, *, nested: bool) -> _Response:
    """Return an authorizer's response. Only payload format 2.0 may have a nested context, and if `nested` is set.

    Raises:
        PolicyError: it is not one that API Gateway accepts.
    """
    if not isinstance(result, dict):
        raise PolicyError("the result is not an object")
    context = _context(result.get("context"), nested=nested and authorizer.payload_format == "2.0")
    if authorizer.simple_responses:
        allowed = result.get("isAuthorized")
        if not isinstance(allowed, bool):
            raise PolicyError("isAuthorized is neither true nor false")
        return _Response(allowed, context)
    principal = result.get("principalId")
    if not isinstance(principal, str) or not principal:
        raise PolicyError("the result has no principalId")
    if authorizer.payload_format == "1.0":
        context["principalId"] = principal
    return _Response(parse(result.get("policyDocument")), context)


def _most_permissive(policy: Policy, call: Call, context: Mapping[str, str]) -> Verdict:
    """Return the most permissive verdict on the call's ARNs, the first one of `Verdict`.

    AWS does not document which spelling of a path it evaluates. A policy that is right for one spelling only must fail
    here, not in an account.
    """
    verdicts = {policy.evaluate(_ACTION, arn, context) for arn in call.method_arns}
    return next(verdict for verdict in Verdict if verdict in verdicts)


def _identity(call: Call, authorizer: Authorizer) -> tuple[str, ...]:
    """Values of the identity sources.

    Raises:
        GatewayError: one is missing or empty, or a TOKEN does not match the validation expression.
    """
    values = [_source_value(call, source) or "" for source in authorizer.identity_sources]
    expression = authorizer.validation_expression
    if "" in values or (expression is not None and not re.fullmatch(expression, values[0])):
        raise GatewayError("UNAUTHORIZED")
    return tuple(values)


def _source_value(call: Call, source: IdentitySource) -> str | None:
    if source.location == "header":
        return call.request.header(source.name)
    if source.location == "querystring":
        return dict(query_parameters(call.api, call.request)).get(source.name)
    if source.location == "stage_variable":
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
    """Return the context for the function, as text unless it may be nested."""
    if declared is None:
        return {}
    if not isinstance(declared, dict):
        raise PolicyError("context is not an object")
    if nested:
        return dict(declared)
    if not all(isinstance(value, str | bool | int | float) for value in declared.values()):
        raise PolicyError("context has a nested value")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in declared.items()}


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
