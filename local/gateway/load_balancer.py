"""Emulate an Application Load Balancer: rules of a listener, `jwt-validation`, and functions as targets.

`read_rules` reads the listener of a template.

Sources: the CloudFormation reference of `AWS::ElasticLoadBalancingV2::*`. Elastic Load Balancing: "Verify JWTs using an
Application Load Balancer"; "Use Lambda functions as targets of an Application Load Balancer"; "Condition types for
listener rules". docs/guard-your-api.md lists what is inferred.
"""

import base64
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Literal, get_args

from infra.cloudformation import Resolver, Resource, TemplateError, checked_types
from infra.guards import ALGORITHMS, MAX_ALB_KEYS, MAX_KEY_SET_LENGTH, Guard
from local.gateway.integration_response import MalformedResultError
from local.gateway.lambda_runtime import FunctionError, Invoke
from local.gateway.model import Request, Response
from local.gateway.native_jwt import FetchError, KeySet, KeySetRules, RejectedTokenError, UnverifiedToken
from local.gateway.resource_reader import check_supported
from local.gateway.template import Template

_log = logging.getLogger(__name__)

_KEY_SET_RULES = KeySetRules(
    3600, refetch_unknown=True, max_keys=MAX_ALB_KEYS, max_length=MAX_KEY_SET_LENGTH[Guard.ALB]
)
_TEXT = re.compile(r"(text/.*|application/(json|javascript|xml))\s*(;.*)?", re.IGNORECASE)

LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
_RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
_TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
_MAX_CLAIMS = 10
_CHECKED_CLAIMS = {"exp", "iss", "nbf", "iat"}

ClaimFormat = Literal["single-string", "space-separated-values", "string-array"]


@dataclass(frozen=True, slots=True)
class AdditionalClaim:
    """A claim that a load balancer checks. One of the values is enough."""

    name: str
    format: ClaimFormat
    values: frozenset[str]

    def accepts(self, claim: object) -> bool:
        """Return whether a token's claim has the format and one of the values."""
        if self.format == "string-array":
            return isinstance(claim, list) and any(isinstance(each, str) and each in self.values for each in claim)
        if not isinstance(claim, str):
            return False
        parts = claim.split(" ") if self.format == "space-separated-values" else [claim]
        return not self.values.isdisjoint(parts)


@dataclass(frozen=True)
class JwtValidation:
    """The configuration of a `jwt-validation` action."""

    issuer: str
    jwks_endpoint: str
    claims: tuple[AdditionalClaim, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule of a listener. It has a function as target, or a fixed response.

    Without methods or paths it matches any. A rule without `validation` verifies no token.
    """

    methods: frozenset[str]
    paths: tuple[re.Pattern[str], ...]
    validation: JwtValidation | None
    target: str | Response

    def matches(self, request: Request) -> bool:
        """Return whether the request has the rule's method and path."""
        has_method = not self.methods or request.method in self.methods
        return has_method and (not self.paths or any(pattern.search(request.path) for pattern in self.paths))


class LoadBalancerCheck:
    """Verifies the tokens of one `jwt-validation` action."""

    def __init__(self, validation: JwtValidation, clock: Callable[[], float]) -> None:
        self._validation = validation
        self._clock = clock
        self._keys = KeySet(validation.jwks_endpoint, _KEY_SET_RULES, clock)

    def check(self, authorization: str | None) -> None:
        """Return if a request with this Authorization header may reach the target.

        Raises:
            FetchError: the key set is not available or exceeds a limit. No request is forwarded.
            RejectedTokenError: the token is not valid.
        """
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise RejectedTokenError("there is no bearer token")
        token = UnverifiedToken.decode(text)
        if token.claims.get("iss") != self._validation.issuer:
            raise RejectedTokenError("the token does not have a valid issuer")
        token.verify(self._keys.find(token.header), ALGORITHMS[Guard.ALB])
        token.check_times(self._clock())
        for claim in self._validation.claims:
            if not claim.accepts(token.claims.get(claim.name)):
                raise RejectedTokenError(f"the token's {claim.name} is not accepted")


class LoadBalancer:
    """Emulates one listener.

    Args:
        rules: the rules by priority; the last one is the default action.
        invoke: calls a function by its logical id.
        timeouts: seconds that each function may take, by its logical id.
        clock: returns seconds since the epoch.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        invoke: Invoke,
        timeouts: Mapping[str, float] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._invoke = invoke
        self._timeouts = timeouts
        self._rules = [(rule, LoadBalancerCheck(rule.validation, clock) if rule.validation else None) for rule in rules]

    def handle(self, request: Request) -> Response:
        """Return the response of the first rule that matches. A rejected token ends the request."""
        rule, check = next(each for each in self._rules if each[0].matches(request))
        try:
            if check is not None:
                check.check(request.header("authorization"))
        except RejectedTokenError:
            return _html(HTTPStatus.UNAUTHORIZED)
        except FetchError as error:
            _log.error("%s", error)
            return _html(HTTPStatus.INTERNAL_SERVER_ERROR)
        if isinstance(rule.target, Response):
            return rule.target
        timeout = self._timeouts.get(rule.target)
        if request.limit is not None and timeout is not None:
            request.limit(timeout, lambda: _html(HTTPStatus.BAD_GATEWAY))
        try:
            return _response(self._invoke(rule.target, _event(request, rule.target)))
        except (FunctionError, MalformedResultError) as error:
            _log.error("%s: %s", rule.target, error)
            return _html(HTTPStatus.BAD_GATEWAY)

    def too_large(self, _request: Request) -> Response:
        """Return the response to a request whose body exceeds the limit."""
        return _html(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _event(request: Request, target: str) -> dict[str, object]:
    """Return the event for a function. A load balancer decodes nothing."""
    headers = {name.lower(): value for name, value in request.headers}
    forwarded = headers.get("x-forwarded-for")
    headers |= {
        "x-forwarded-for": f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip,
        "x-forwarded-port": str(request.port),
        "x-forwarded-proto": request.scheme,
    }
    pairs = (pair.partition("=") for pair in request.query.split("&") if pair)
    is_text = not request.body or (
        "content-encoding" not in headers and _TEXT.fullmatch(headers.get("content-type", ""))
    )
    return {
        "requestContext": {"elb": {"targetGroupArn": target}},
        "httpMethod": request.method,
        "path": request.path,
        "queryStringParameters": {name: value for name, _, value in pairs},
        "headers": headers,
        "body": request.body.decode("utf-8", "replace") if is_text else base64.b64encode(request.body).decode(),
        "isBase64Encoded": not is_text,
    }


def _response(result: object) -> Response:
    """Return a function's response.

    Raises:
        MalformedResultError: it is not one that a load balancer accepts.
    """
    if not isinstance(result, dict):
        raise MalformedResultError("the result is not an object")
    status, headers, body = result.get("statusCode"), result.get("headers") or {}, result.get("body") or ""
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise MalformedResultError(f"statusCode {status!r} is not an HTTP status")
    if not isinstance(headers, dict) or not isinstance(body, str):
        raise MalformedResultError("headers are not an object, or the body is not text")
    try:
        content = base64.b64decode(body, validate=True) if result.get("isBase64Encoded") else body.encode()
    except ValueError as error:
        raise MalformedResultError("body is not base64") from error
    return Response(status, tuple((str(name), str(value)) for name, value in headers.items()), content)


def _html(status: HTTPStatus) -> Response:
    title = f"{status.value} {status.phrase}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n"
    )
    return Response(status.value, (("Content-Type", "text/html"),), f"{page}</html>\r\n".encode())


def read_rules(template: Template, listener: Resource) -> tuple[Rule, ...]:
    """Return the rules of a listener by priority. The default action is the last one.

    Raises:
        TemplateError: the listener has something unsupported.
    """
    balanced = (each for each in template.resources.values() if each.type.startswith("AWS::ElasticLoadBalancing"))
    resolver = template.resolver({each.logical_id: each.logical_id for each in balanced})
    found: dict[int, Rule] = {}
    for each in template.of_type(_RULE):
        where = each.logical_id
        with checked_types(where):
            if resolver.resolve(each.properties.get("ListenerArn"), where) == listener.logical_id:
                check_supported(each.properties, "Actions Conditions ListenerArn Priority", "", where)
                priority = resolver.number(each.properties.get("Priority"), f"{where}.Priority")
                if priority in found:
                    raise TemplateError(f"{where}: priority {priority} is declared twice")
                found[priority] = _read_rule(template, resolver, each, "Actions")
    with checked_types(listener.logical_id):
        default = _read_rule(template, resolver, listener, "DefaultActions")
    return (*(found[priority] for priority in sorted(found)), default)


def _read_rule(template: Template, resolver: Resolver, declared: Resource, actions: str) -> Rule:
    where = declared.logical_id
    methods: frozenset[str] = frozenset()
    paths: tuple[re.Pattern[str], ...] = ()
    for condition in resolver.resolve(declared.properties.get("Conditions", []), where):
        kind = condition.get("Field")
        if kind == "http-request-method":
            check_supported(condition, "Field HttpRequestMethodConfig", "", where)
            methods = frozenset(condition["HttpRequestMethodConfig"]["Values"])
        elif kind == "path-pattern":
            check_supported(condition, "Field PathPatternConfig Values", "", where)
            config = condition.get("PathPatternConfig", {"Values": condition.get("Values", [])})
            paths = tuple(_path_patterns(config, where))
        else:
            raise TemplateError(f"{where}: the condition {kind} is not supported on the laptop")
    validation: JwtValidation | None = None
    target: str | Response | None = None
    steps = resolver.resolve(declared.properties.get(actions, []), where)
    for action in sorted(steps, key=lambda each: int(each.get("Order", 1))):
        kind = action.get("Type")
        if kind == "jwt-validation":
            validation = _validation(action["JwtValidationConfig"], where)
        elif kind == "forward":
            check_supported(action, "Order TargetGroupArn Type", "", where)
            target = _function(template, resolver, action["TargetGroupArn"], where)
        elif kind == "fixed-response":
            config = action["FixedResponseConfig"]
            headers = (("Content-Type", str(config.get("ContentType", "text/plain"))),)
            target = Response(int(config["StatusCode"]), headers, str(config.get("MessageBody", "")).encode())
        else:
            raise TemplateError(f"{where}: the action {kind} is not supported on the laptop")
    if target is None:
        raise TemplateError(f"{where} neither forwards nor has a fixed response")
    return Rule(methods, paths, validation, target)


def _function(template: Template, resolver: Resolver, name: str, where: str) -> str:
    """Return the function of a target group."""
    group = template.resources.get(name)
    if group is None or group.type != _TARGETS:
        raise TemplateError(f"{where}: {name} is not a target group of this template")
    targets = resolver.resolve(group.properties.get("Targets", []), name)
    if group.properties.get("TargetType") != "lambda" or len(targets) != 1:
        raise TemplateError(f"{name}: only one Lambda function can be the target")
    return template.function_by_arn(targets[0]["Id"], name)


def _path_patterns(config: Mapping[str, Any], where: str) -> Iterator[re.Pattern[str]]:
    """Yield the patterns of a condition. `*` matches any text and `?` one character."""
    check_supported(config, "RegexValues Values", "", where)
    wildcards = {"*": ".*", "?": "."}
    for value in config.get("Values", []):
        pattern = "".join(wildcards.get(each) or re.escape(each) for each in value)
        yield re.compile(rf"\A{pattern}\Z")
    for value in config.get("RegexValues", []):
        yield re.compile(value)


def _validation(config: Mapping[str, Any], where: str) -> JwtValidation:
    check_supported(config, "AdditionalClaims Issuer JwksEndpoint", "", where)
    claims = tuple(_additional_claim(each, where) for each in config.get("AdditionalClaims", []))
    if len(claims) > _MAX_CLAIMS:
        raise TemplateError(f"{where}: more than {_MAX_CLAIMS} additional claims")
    return JwtValidation(str(config.get("Issuer")), str(config.get("JwksEndpoint")), claims)


def _additional_claim(declared: Mapping[str, Any], where: str) -> AdditionalClaim:
    name, values = declared.get("Name"), declared.get("Values", [])
    form: Any = declared.get("Format")
    if name in _CHECKED_CLAIMS or form not in get_args(ClaimFormat) or not 0 < len(values) <= _MAX_CLAIMS:
        raise TemplateError(f"{where}: the additional claim {name} is not valid")
    if form == "space-separated-values" and any(" " in value for value in values):
        raise TemplateError(f"{where}: a value of {name} has a space")
    return AdditionalClaim(str(name), form, frozenset(values))
