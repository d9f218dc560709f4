"""Read an AWS::ApiGatewayV2::Api, with its stage, routes, integrations and authorizers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.cloudformation import TemplateError
from local.gateway.declarations import (
    DEFAULT_CACHE_SECONDS,
    checked_routes,
    known,
    milliseconds,
    rate_limit,
)
from local.gateway.model import Api, Authorizer, IdentitySource, PayloadFormat, RateLimit, Route

if TYPE_CHECKING:
    from infra.cloudformation import Resource
    from local.gateway.template import Template

__all__ = ["read"]

_TIMEOUT = 30.0
_STAGE = "AWS::ApiGatewayV2::Stage"
_ROUTE = "AWS::ApiGatewayV2::Route"
_INTEGRATION = "AWS::ApiGatewayV2::Integration"
_AUTHORIZER = "AWS::ApiGatewayV2::Authorizer"

_INVOCATION = re.compile(r"arn:[^:]+:apigateway:[^:]*:lambda:path/[^/]+/functions/(.+)/.+")
_IDENTITY_SOURCE = re.compile(r"\$(?:request\.(header|querystring)|(context|stageVariables))\.(.+)")


def read(template: Template, resource: Resource) -> Api:
    """The HTTP API that `resource` declares.

    Raises:
        TemplateError: it uses something that cannot be played.
    """
    return _HttpReader(template, resource).read()


class _HttpReader:
    """Holds what the parts of an HTTP API are read with."""

    def __init__(self, template: Template, resource: Resource) -> None:
        self._template = template
        self._id = resource.logical_id
        self._properties = resource.properties
        self._resolver = template.resolver()

    def read(self) -> Api:
        known(
            self._properties,
            ["ProtocolType"],
            ["Description", "DisableExecuteApiEndpoint", "IpAddressType", "Name", "Tags"],
            self._id,
        )
        if self._properties.get("ProtocolType") != "HTTP":
            raise TemplateError(f"{self._id}: only ProtocolType HTTP can be played")
        stages = self._parts(_STAGE)
        if len(stages) != 1:
            raise TemplateError(f"{self._id} needs one stage, not {len(stages)}")
        (stage,) = stages
        known(
            stage.properties,
            [
                "ApiId",
                "DefaultRouteSettings",
                "RouteSettings",
                "StageName",
                "StageVariables",
            ],
            ["AccessLogSettings", "AutoDeploy", "Description", "Tags"],
            stage.logical_id,
        )
        where = stage.logical_id
        routes = [(self._route(part, stage), part.logical_id) for part in self._parts(_ROUTE)]
        return Api(
            logical_id=self._id,
            api_id=self._resolver.text({"Ref": self._id}, self._id),
            kind="http",
            stage=self._resolver.text(stage.properties.get("StageName"), f"{where}.StageName"),
            routes=checked_routes(routes),
            stage_variables={
                name: self._resolver.text(value, f"{where}.{name}")
                for name, value in stage.properties.get("StageVariables", {}).items()
            },
        )

    def _parts(self, kind: str) -> list[Resource]:
        return [
            resource
            for resource in self._template.of_type(kind)
            if resource.properties.get("ApiId") == {"Ref": self._id}
        ]

    def _part(self, kind: str, logical_id: str, where: str) -> Resource:
        for part in self._parts(kind):
            if part.logical_id == logical_id:
                return part
        raise TemplateError(f"{where}: {logical_id} is no {kind} of {self._id}")

    def _rate_limit(self, stage: Resource, key: str) -> RateLimit | None:
        settings = stage.properties.get("RouteSettings", {}).get(key, {})
        shared = stage.properties.get("DefaultRouteSettings", {})
        return rate_limit({**shared, **settings}, self._resolver, stage.logical_id)

    def _route(self, part: Resource, stage: Resource) -> Route:
        where, properties = part.logical_id, part.properties
        known(
            properties,
            ["ApiId", "AuthorizationType", "AuthorizerId", "RouteKey", "Target"],
            ["OperationName"],
            where,
        )
        key = self._resolver.text(properties.get("RouteKey"), f"{where}.RouteKey")
        method, _, path = ("ANY", "", key) if key == "$default" else key.partition(" ")
        target = self._resolver.text(properties.get("Target"), f"{where}.Target")
        function, payload_format, timeout = self._integration(
            target.removeprefix("integrations/"), where
        )
        authorizer = self._route_authorizer(part)
        limit = self._rate_limit(stage, key)
        return Route(method, path, function, authorizer, payload_format, timeout, limit)

    def _route_authorizer(self, part: Resource) -> Authorizer | None:
        kind = part.properties.get("AuthorizationType", "NONE")
        if kind == "NONE":
            return None
        if kind != "CUSTOM":
            raise TemplateError(f"{part.logical_id}: authorization {kind} cannot be played")
        name = self._resolver.text(
            part.properties.get("AuthorizerId"), f"{part.logical_id}.AuthorizerId"
        )
        return self._authorizer(self._part(_AUTHORIZER, name, part.logical_id))

    def _integration(self, logical_id: str, where: str) -> tuple[str, PayloadFormat, float]:
        part = self._part(_INTEGRATION, logical_id, where)
        where, properties = part.logical_id, part.properties
        known(
            properties,
            [
                "ApiId",
                "IntegrationType",
                "IntegrationUri",
                "PayloadFormatVersion",
                "TimeoutInMillis",
            ],
            ["Description", "IntegrationMethod"],
            where,
        )
        if properties.get("IntegrationType") != "AWS_PROXY":
            raise TemplateError(f"{where}: only AWS_PROXY integrations can be played")
        uri = self._resolver.text(properties.get("IntegrationUri"), f"{where}.IntegrationUri")
        invocation = _INVOCATION.fullmatch(uri)
        arn = invocation[1] if invocation else uri
        version = properties.get("PayloadFormatVersion")
        return (
            self._template.function_by_arn(arn, where),
            _payload_format(version, where),
            milliseconds(properties, _TIMEOUT, self._resolver, where),
        )

    def _authorizer(self, part: Resource) -> Authorizer:
        where, properties = part.logical_id, part.properties
        known(
            properties,
            [
                "ApiId",
                "AuthorizerPayloadFormatVersion",
                "AuthorizerResultTtlInSeconds",
                "AuthorizerType",
                "AuthorizerUri",
                "EnableSimpleResponses",
                "IdentitySource",
            ],
            ["AuthorizerCredentialsArn", "Name"],
            where,
        )
        if properties.get("AuthorizerType") != "REQUEST":
            raise TemplateError(f"{where}: only REQUEST authorizers can be played")
        uri = self._resolver.text(properties.get("AuthorizerUri"), f"{where}.AuthorizerUri")
        invocation = _INVOCATION.fullmatch(uri)
        if invocation is None:
            raise TemplateError(f"{where}: {uri} is no Lambda invocation address")
        cache = properties.get("AuthorizerResultTtlInSeconds", DEFAULT_CACHE_SECONDS)
        simple = properties.get("EnableSimpleResponses", False)
        return Authorizer(
            name=where,
            function=self._template.function_by_arn(invocation[1], where),
            kind="REQUEST",
            identity_sources=tuple(
                _http_identity_source(self._resolver.text(source, where), where)
                for source in properties.get("IdentitySource", [])
            ),
            cache_seconds=self._resolver.number(cache, where),
            payload_format=_payload_format(properties.get("AuthorizerPayloadFormatVersion"), where),
            simple_responses=self._resolver.flag(simple, f"{where}.EnableSimpleResponses"),
        )


def _payload_format(version: object, where: str) -> PayloadFormat:
    if version == "1.0":
        return "1.0"
    if version == "2.0":
        return "2.0"
    raise TemplateError(f"{where}: the payload format must be '1.0' or '2.0', not {version!r}")


def _http_identity_source(text: str, where: str) -> IdentitySource:
    match = _IDENTITY_SOURCE.fullmatch(text)
    if match is None:
        raise TemplateError(f"{where}: {text!r} is no identity source that can be played")
    if match[1] == "header":
        return IdentitySource("header", match[3])
    if match[1] == "querystring":
        return IdentitySource("querystring", match[3])
    if match[2] == "stageVariables":
        return IdentitySource("stage_variable", match[3])
    return IdentitySource("context", match[3])
