"""Read the listener of an Application Load Balancer from a template.

Source: the CloudFormation reference of `AWS::ElasticLoadBalancingV2::*`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.cloudformation import Resource, TemplateError, checked_types
from local.gateway.authorizer_reader import check_supported
from local.gateway.load_balancer import AdditionalClaim, JwtValidation, Rule
from local.gateway.model import Response
from local.gateway.template import Template

LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
_RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
_TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
_FORMATS = ("single-string", "space-separated-values", "string-array")
_MAX_CLAIMS = 10
_CHECKED_CLAIMS = {"exp", "iss", "nbf", "iat"}


def read_rules(template: Template, listener: Resource) -> tuple[Rule, ...]:
    """Return the rules of a listener by priority. The default action is the last one.

    Raises:
        TemplateError: the listener has something unsupported.
    """
    reader = _Reader(template)
    with checked_types(listener.logical_id):
        return (*reader.rules(listener), reader.rule(listener, "DefaultActions"))


class _Reader:
    def __init__(self, template: Template) -> None:
        self._template = template
        balanced = (each for each in template.resources.values() if each.type.startswith("AWS::ElasticLoadBalancing"))
        self._resolver = template.resolver({each.logical_id: each.logical_id for each in balanced})

    def rules(self, listener: Resource) -> Iterator[Rule]:
        """Yield the rules of a listener, without the default action."""
        found: dict[int, Resource] = {}
        for each in self._template.of_type(_RULE):
            if self._resolver.resolve(each.properties.get("ListenerArn"), each.logical_id) == listener.logical_id:
                check_supported(each.properties, "Actions Conditions ListenerArn Priority", "", each.logical_id)
                priority = self._resolver.number(each.properties.get("Priority"), f"{each.logical_id}.Priority")
                if priority in found:
                    raise TemplateError(f"{each.logical_id}: priority {priority} is declared twice")
                found[priority] = each
        for _, each in sorted(found.items()):
            with checked_types(each.logical_id):
                rule = self.rule(each, "Actions")
            yield rule

    def rule(self, declared: Resource, actions: str) -> Rule:
        """Return the rule that a resource declares."""
        where = declared.logical_id
        methods: frozenset[str] = frozenset()
        paths: tuple[re.Pattern[str], ...] = ()
        for condition in self._resolver.resolve(declared.properties.get("Conditions", []), where):
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
        steps = self._resolver.resolve(declared.properties.get(actions, []), where)
        for action in sorted(steps, key=lambda each: int(each.get("Order", 1))):
            kind = action.get("Type")
            if kind == "jwt-validation":
                validation = _validation(action["JwtValidationConfig"], where)
            elif kind == "forward":
                check_supported(action, "Order TargetGroupArn Type", "", where)
                target = self._function(action["TargetGroupArn"], where)
            elif kind == "fixed-response":
                target = _fixed_response(action["FixedResponseConfig"])
            else:
                raise TemplateError(f"{where}: the action {kind} is not supported on the laptop")
        if target is None:
            raise TemplateError(f"{where} neither forwards nor has a fixed response")
        return Rule(methods, paths, validation, target)

    def _function(self, name: str, where: str) -> str:
        group = self._template.resources.get(name)
        if group is None or group.type != _TARGETS:
            raise TemplateError(f"{where}: {name} is not a target group of this template")
        targets = self._resolver.resolve(group.properties.get("Targets", []), name)
        if group.properties.get("TargetType") != "lambda" or len(targets) != 1:
            raise TemplateError(f"{name}: only one Lambda function can be the target")
        return self._template.function_by_arn(targets[0]["Id"], name)


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
    claims: list[AdditionalClaim] = []
    for declared in config.get("AdditionalClaims", []):
        name, form, values = declared.get("Name"), declared.get("Format"), declared.get("Values", [])
        if name in _CHECKED_CLAIMS or form not in _FORMATS or not 0 < len(values) <= _MAX_CLAIMS:
            raise TemplateError(f"{where}: the additional claim {name} is not valid")
        if form == "space-separated-values" and any(" " in value for value in values):
            raise TemplateError(f"{where}: a value of {name} has a space")
        claims.append(AdditionalClaim(name, form, frozenset(values)))
    if len(claims) > _MAX_CLAIMS:
        raise TemplateError(f"{where}: more than {_MAX_CLAIMS} additional claims")
    return JwtValidation(str(config.get("Issuer")), str(config.get("JwksEndpoint")), tuple(claims))


def _fixed_response(config: Mapping[str, Any]) -> Response:
    content_type = str(config.get("ContentType", "text/plain"))
    return Response(
        int(config["StatusCode"]), (("Content-Type", content_type),), str(config.get("MessageBody", "")).encode()
    )
