"""Write the OpenAPI document of an API whose methods or routes, and authorizers, are resources.

Source: the CloudFormation reference of `AWS::ApiGateway::*` and `AWS::ApiGatewayV2::*`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.cloudformation import Resolver, Resource, TemplateError

REST_API = "AWS::ApiGateway::RestApi"
ANY_METHOD = "x-amazon-apigateway-any-method"

_METHOD = "AWS::ApiGateway::Method"
_PATH = "AWS::ApiGateway::Resource"
_ROUTE = "AWS::ApiGatewayV2::Route"
_INTEGRATION = "AWS::ApiGatewayV2::Integration"

# Members of each part: supported, and ignored because they change no response.
_ROUTE_MEMBERS = "ApiId AuthorizationScopes AuthorizationType AuthorizerId RouteKey Target", "OperationName"
_METHOD_MEMBERS = (
    "AuthorizationScopes AuthorizationType AuthorizerId HttpMethod Integration ResourceId RestApiId",
    "MethodResponses OperationName RequestParameters",
)
_METHOD_INTEGRATION = "TimeoutInMillis Type Uri", "Credentials IntegrationHttpMethod PassthroughBehavior"
_REST_AUTHORIZER_MEMBERS = (
    (
        "AuthorizerResultTtlInSeconds AuthorizerUri IdentitySource IdentityValidationExpression JwtConfiguration "
        "RestApiId Type"
    ),
    "AuthType AuthorizerCredentials Name",
)
_INTEGRATION_MEMBERS = (
    "ApiId IntegrationType IntegrationUri PayloadFormatVersion TimeoutInMillis",
    "Description IntegrationMethod",
)
_HTTP_AUTHORIZER_MEMBERS = (
    (
        "ApiId AuthorizerPayloadFormatVersion AuthorizerResultTtlInSeconds AuthorizerType AuthorizerUri "
        "EnableSimpleResponses IdentitySource JwtConfiguration"
    ),
    "AuthorizerCredentialsArn Name",
)
# Members of an authorizer that its security scheme does not have, or has under another name.
_OUTER_MEMBERS = {
    *"ApiId AuthType AuthorizerCredentials AuthorizerCredentialsArn AuthorizerType Name RestApiId Type".split()
}


def check_supported(properties: Mapping[str, Any], supported: str, ignored: str, where: str) -> None:
    """Reject properties that are neither supported nor ignored, both separated by spaces.

    An ignored property changes no response. A gateway that skipped others would emulate an API that differs from the
    deployed one.
    """
    if unknown := sorted(set(properties) - {*supported.split(), *ignored.split()}):
        raise TemplateError(f"{where}: {', '.join(unknown)} is not supported on the laptop")


def authorizer_kind(scheme: Mapping[str, Any]) -> str:
    """Return the type of a security scheme's authorizer in upper case."""
    return str(scheme.get("x-amazon-apigateway-authorizer", {}).get("type")).upper()


_Operation = tuple[str, str, str, Mapping[str, Any], Mapping[str, Any]]
"""A method or a route that is a resource: logical id, method, path, properties and integration."""


class ResourceReader:
    """Reads the resources of one API."""

    def __init__(self, api: Resource, resources: Mapping[str, Resource], resolver: Resolver) -> None:
        self._api = api
        self._is_rest = api.type == REST_API
        reference = "RestApiId" if self._is_rest else "ApiId"
        self._parts = {
            name: part for name, part in resources.items() if part.properties.get(reference) == {"Ref": api.logical_id}
        }
        self._resolver = resolver

    def document(self) -> Mapping[str, Any]:
        """Return the document of the API.

        Raises:
            TemplateError: a resource is not supported.
        """
        paths: dict[str, dict[str, Any]] = {}
        schemes: dict[str, Any] = {}
        for where, method, path, declared, integration in self._methods() if self._is_rest else self._routes():
            name = ANY_METHOD if method == "ANY" else method.lower()
            if name in paths.setdefault(path, {}):
                raise TemplateError(f"{where}: {method} {path} is declared twice")
            operation: dict[str, Any] = {"x-amazon-apigateway-integration": integration}
            paths[path][name] = operation
            kind, scopes = declared.get("AuthorizationType", "NONE"), declared.get("AuthorizationScopes", [])
            if kind not in ("NONE", "CUSTOM", "JWT"):
                raise TemplateError(f"{where}: authorization {kind} is not supported")
            if scopes and kind != "JWT":
                raise TemplateError(f"{where}: AuthorizationScopes need the authorization JWT")
            if kind != "NONE":
                authorizer = str(declared.get("AuthorizerId"))
                schemes[authorizer] = scheme = self._security_scheme(authorizer, where)
                if (kind == "JWT") != (authorizer_kind(scheme) == "JWT"):
                    raise TemplateError(f"{where}: {authorizer} is not an authorizer for the authorization {kind}")
                operation["security"] = [{authorizer: scopes}]
        return {"paths": paths, "components": {"securitySchemes": schemes}}

    def operations(self) -> list[str]:
        """Return the logical ids of the methods or routes."""
        return [name for name, part in self._parts.items() if part.type in (_METHOD, _ROUTE)]

    def _routes(self) -> Iterator[_Operation]:
        for where in self.operations():
            route = self._properties(_ROUTE, where, where, _ROUTE_MEMBERS)
            method, _, path = str(route.get("RouteKey")).rpartition(" ")
            target = str(route.get("Target")).removeprefix("integrations/")
            declared = self._properties(_INTEGRATION, target, where, _INTEGRATION_MEMBERS)
            integration = {
                "type": declared.get("IntegrationType"),
                "uri": declared.get("IntegrationUri"),
                "payloadFormatVersion": declared.get("PayloadFormatVersion"),
                "timeoutInMillis": declared.get("TimeoutInMillis"),
            }
            yield (where, method or "ANY", path, route, integration)

    def _methods(self) -> Iterator[_Operation]:
        for where in self.operations():
            method = self._properties(_METHOD, where, where, _METHOD_MEMBERS)
            declared = method.get("Integration", {})
            check_supported(declared, *_METHOD_INTEGRATION, f"{where}.Integration")
            integration = {"type": declared.get("Type"), "uri": declared.get("Uri")}
            integration["timeoutInMillis"] = declared.get("TimeoutInMillis")
            path = self._path(method.get("ResourceId"), where) or "/"
            yield (where, str(method.get("HttpMethod")), path, method, integration)

    def _path(self, resource_id: object, where: str) -> str:
        """Return the path of a resource of a REST API; the root's is empty."""
        if resource_id == self._resolver.resolve({"Fn::GetAtt": [self._api.logical_id, "RootResourceId"]}, where):
            return ""
        declared = self._properties(_PATH, str(resource_id), where, ("ParentId PathPart RestApiId", ""))
        return f"{self._path(declared.get('ParentId'), str(resource_id))}/{declared.get('PathPart')}"

    def _security_scheme(self, authorizer: str, where: str) -> dict[str, Any]:
        """Return the security scheme of an authorizer that is a resource."""
        if self._is_rest:
            kind, members = "AWS::ApiGateway::Authorizer", _REST_AUTHORIZER_MEMBERS
        else:
            kind, members = "AWS::ApiGatewayV2::Authorizer", _HTTP_AUTHORIZER_MEMBERS
        declared = self._properties(kind, authorizer, where, members)
        inner = _in_camel_case({name: value for name, value in declared.items() if name not in _OUTER_MEMBERS})
        header = str(declared.get("IdentitySource")).removeprefix("method.request.header.")
        inner["type"] = declared.get("AuthorizerType", declared.get("Type"))
        return {"name": header, "x-amazon-apigateway-authorizer": inner}

    def _properties(self, kind: str, name: str, where: str, members: tuple[str, str]) -> Mapping[str, Any]:
        """Return the resolved properties of a part of the API."""
        part = self._parts.get(name)
        if part is None or part.type != kind:
            raise TemplateError(f"{where}: {name} is not a {kind} of {self._api.logical_id}")
        check_supported(part.properties, *members, name)
        resolved: Mapping[str, Any] = self._resolver.resolve(part.properties, name)
        return resolved


def _in_camel_case(value: Any) -> Any:
    """Write the names of members as OpenAPI does, at every depth."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: _in_camel_case(each) for name, each in value.items()}
    return [_in_camel_case(each) for each in value] if isinstance(value, list) else value
