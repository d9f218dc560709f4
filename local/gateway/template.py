"""Read the APIs and functions of a template. SAM's transform expands its APIs."""

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

from infra.cloudformation import Resolver, Resource, TemplateError, checked_types, load
from local.addresses import LAPTOP, AwsAccount
from local.gateway.api_reader import HTTP_API, ApiReader
from local.gateway.model import Api, Function
from local.gateway.resource_reader import REST_API, check_supported

_ALIAS = "AWS::Lambda::Alias"
_APIS = (REST_API, HTTP_API)
_FUNCTION = "AWS::Serverless::Function"
_EVENTS = ("Api", "HttpApi")
_SAM_APIS = ("AWS::Serverless::Api", "AWS::Serverless::HttpApi")

# Resources of API Gateway that are supported, or that do not change a response.
_SUPPORTED = {
    *(f"AWS::ApiGateway::{name}" for name in "Account Authorizer BasePathMapping Deployment DomainName".split()),
    *(f"AWS::ApiGateway::{name}" for name in "Method Resource RestApi Stage".split()),
    *(f"AWS::ApiGatewayV2::{name}" for name in "Api ApiMapping Authorizer DomainName Integration Route Stage".split()),
    "AWS::ApiGatewayV2::RouteResponse",  # part of WebSocket APIs
    *(_FUNCTION, *_SAM_APIS),
}
# Members of a function: supported, and ignored because they change no response.
_FUNCTION_MEMBERS = (
    (
        "AutoPublishAlias CodeUri Environment Events FunctionName Handler ImageUri InlineCode MemorySize PackageType "
        "Runtime Timeout"
    ),
    (
        "Architectures DeploymentPreference Description EphemeralStorage ImageConfig KmsKeyArn LoggingConfig "
        "PermissionsBoundary Policies ProvisionedConcurrencyConfig ReservedConcurrentExecutions Role "
        "RuntimeManagementConfig SnapStart Tags Tracing"
    ),
)
# The transform requires a function that could be deployed. None of this reaches an API.
_DEPLOYABLE = {"CodeUri": "s3://bucket/key", "Handler": "a.b", "Runtime": "python3.13"}
_DEFAULT_TIMEOUT = 3
_DEFAULT_MEMORY = 128


@dataclass(frozen=True)
class Template:
    """A template with values for its parameters.

    The laptop names functions `<stack>-<logical id>`. An API's id is its logical id in lower case. `imports` are the
    values that other stacks export, by name. A function's ARN among them names that function where an API refers to it.

    Names of other resources (tables, secrets, keys) come from the component that creates them. The methods take them as
    `values`: `Ref` values by logical id, attributes as `LogicalId.Arn`.
    """

    path: Path
    document: Mapping[str, Any]
    parameters: Mapping[str, str]
    account: AwsAccount = LAPTOP
    resources: Mapping[str, Resource] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        path: Path,
        parameters: Mapping[str, str] | None = None,
        account: AwsAccount = LAPTOP,
        imports: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the template at `path`. `parameters` override its defaults.

        Raises:
            TemplateError: the file cannot be read, or declares something unsupported.
        """
        document = load(path)
        overrides = parameters or {}
        with checked_types("Parameters"):
            declared = document.get("Parameters", {})
            defaults = {name: str(each["Default"]) for name, each in declared.items() if "Default" in each}
            values = {**defaults, **overrides}
            for name in declared:
                if name not in values:
                    raise TemplateError(f"parameter {name} has no default and no value")
        if unknown := sorted(values.keys() - declared.keys()):
            raise TemplateError(f"there is no parameter {', '.join(unknown)}")
        template = cls(path, document, values, account, imports=imports or {})
        with checked_types(str(path)):
            return replace(template, resources={r.logical_id: r for r in template._read()})

    def _read(self) -> Iterator[Resource]:
        resolver = self.resolver()
        check_supported(self.document.get("Globals", {}), "Api Function HttpApi", "", "Globals")
        for logical_id, declared in self.document["Resources"].items():
            kind = declared.get("Type")
            if not isinstance(kind, str):
                raise TemplateError(f"{logical_id} has no Type")
            is_emulated = kind.startswith(("AWS::Serverless::", "AWS::ApiGateway"))
            if is_emulated and kind not in _SUPPORTED:
                raise TemplateError(f"{logical_id}: {kind} is not supported on the laptop")
            condition = declared.get("Condition")
            if condition is None or resolver.condition(condition, logical_id):
                properties = declared.get("Properties", {})
                if not isinstance(properties, dict):
                    raise TemplateError(f"{logical_id}: Properties is not an object")
                yield Resource(logical_id, kind, properties)

    def of_type(self, kind: str) -> tuple[Resource, ...]:
        """Return the resources of a type in the template's order."""
        return tuple(r for r in self.resources.values() if r.type == kind)

    def resolver(self, values: Mapping[str, str] | None = None) -> Resolver:
        """Return a resolver for pseudo parameters, parameters, functions, APIs and `values`."""
        return self._resolver(self.document, {**self._names(self.resources), **(values or {})})

    def _names(self, resources: Mapping[str, Resource]) -> dict[str, Any]:
        """Return values of `Ref` and `Fn::GetAtt` for functions and parts of APIs."""
        names: dict[str, Any] = {}
        for resource in resources.values():
            if resource.type == _FUNCTION:
                names[resource.logical_id] = self._function_name(resource)
                names[f"{resource.logical_id}.Arn"] = self._function_arn(resource)
            elif resource.type in (*_SAM_APIS, *_APIS):
                names[resource.logical_id] = names[f"{resource.logical_id}.ApiId"] = resource.logical_id.lower()
                names[f"{resource.logical_id}.RootResourceId"] = "/"
            elif resource.type == _ALIAS:
                names[resource.logical_id] = self._alias_arn(resource)
            elif resource.type.startswith("AWS::ApiGateway"):
                names[resource.logical_id] = resource.logical_id
        return names

    def _resolver(self, document: Mapping[str, Any], names: Mapping[str, Any]) -> Resolver:
        known = {**self.account.pseudo_parameters(), **self.parameters, **names}
        return Resolver(known, document.get("Conditions", {}), document.get("Mappings", {}), self.imports)

    def export(self, output: str, values: Mapping[str, str], origins: Mapping[str, str]) -> tuple[str, str]:
        """Return the name and the value of an export. `origins`: see `function`."""
        declared = self.document["Outputs"][output]
        resolver, where = self.resolver(values), f"Outputs.{output}"
        name = resolver.text(declared["Export"]["Name"], where)
        return name, self.relocated(resolver.text(declared["Value"], where), origins)

    def properties(self, logical_id: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a resource's properties with intrinsic functions resolved."""
        resource = self.resources[logical_id]
        return cast("dict[str, Any]", self.resolver(values).resolve(resource.properties, logical_id))

    def function(
        self, logical_id: str, values: Mapping[str, str] | None = None, origins: Mapping[str, str] | None = None
    ) -> Function:
        """Return a function. Its environment is resolved with `values`.

        `origins` replaces the address of an API, by logical id: `https://<api>.execute-api…` in the environment becomes
        the origin, such as `http://localhost:8085`.
        """
        resource = self.resources.get(logical_id)
        if resource is None or resource.type != _FUNCTION:
            raise TemplateError(f"{logical_id} is not a function")
        resolver = self.resolver(values)
        properties = self._function_properties(resource)
        self._check_runnable(logical_id, properties, resolver)
        variables = properties.get("Environment", {}).get("Variables", {})
        return Function(
            logical_id=logical_id,
            name=self._function_name(resource),
            arn=self._function_arn(resource),
            handler=resolver.text(properties.get("Handler"), f"{logical_id}.Handler"),
            environment={
                key: self.relocated(resolver.text(value, f"{logical_id}.Environment.{key}"), origins or {})
                for key, value in variables.items()
            },
            timeout=resolver.number(properties.get("Timeout", _DEFAULT_TIMEOUT), f"{logical_id}.Timeout"),
            memory=resolver.number(properties.get("MemorySize", _DEFAULT_MEMORY), f"{logical_id}.MemorySize"),
        )

    def _check_runnable(self, logical_id: str, properties: Mapping[str, Any], resolver: Resolver) -> None:
        """Raise TemplateError for a function whose code this process cannot import."""
        runtime = resolver.text(properties.get("Runtime", "python"), f"{logical_id}.Runtime")
        code = properties.get("CodeUri", ".")
        faults = {
            "is a container image": properties.get("PackageType") == "Image" or "ImageUri" in properties,
            f"has the runtime {runtime}": not runtime.startswith("python"),
            "has its code in the template": "InlineCode" in properties,
            "has its code in S3": not isinstance(code, str) or code.startswith("s3://"),
        }
        for fault, applies in faults.items():
            if applies:
                raise TemplateError(f"{logical_id} {fault}, and only Python functions in a local folder can run here")

    def apis(self) -> tuple[str, ...]:
        """Return the logical ids of the APIs, with those that SAM adds for events without one."""
        resources, _ = self._expanded
        return tuple(each.logical_id for each in resources.values() if each.type in _APIS)

    def api(self, logical_id: str) -> Api:
        """Return the API with this logical id.

        Raises:
            TemplateError: there is no such API, or it has something unsupported.
        """
        declared = self.resources.get(logical_id)
        if declared is not None and declared.type in _APIS:  # nothing to expand
            resources, resolver = self.resources, self.resolver()
        else:
            resources, resolver = self._expanded
        if logical_id not in resources or resources[logical_id].type not in _APIS:
            raise TemplateError(f"{logical_id} is not an API")
        with checked_types(logical_id):
            return ApiReader(resources, resolver, self.function_by_arn).read(resources[logical_id])

    @cached_property
    def _expanded(self) -> tuple[Mapping[str, Resource], Resolver]:
        """Return the resources after SAM's transform, and a resolver for them.

        Raises:
            TemplateError: the transform rejects the template.
        """
        sources = self._sam_resources()
        if not sources:
            return self.resources, self.resolver()
        # Imported lazily: it takes a third of a second, and not every process needs it.
        from samtranslator.model.exceptions import InvalidDocumentException
        from samtranslator.parser.parser import Parser
        from samtranslator.translator.translator import Translator

        logging.getLogger("samtranslator").setLevel(logging.ERROR)
        shared = self.document.get("Globals", {})
        source = {
            "Transform": "AWS::Serverless-2016-10-31",
            **{name: self.document.get(name, {}) for name in ("Parameters", "Conditions", "Mappings")},
            "Globals": {name: shared[name] for name in _EVENTS if name in shared},
            "Resources": sources,
        }
        session: Any = SimpleNamespace(region_name=self.account.region)  # the transform reads nothing else
        translator = Translator({}, Parser(), boto_session=session)
        try:
            document = translator.translate(copy.deepcopy(source), dict(self.parameters))
        except InvalidDocumentException as error:
            raise TemplateError("; ".join(str(cause.message).rstrip(".") for cause in error.causes)) from error
        added = {
            logical_id: Resource(logical_id, declared["Type"], declared.get("Properties", {}))
            for logical_id, declared in document["Resources"].items()
        }
        names = {**self._names(self.resources), **self._names(added)}
        return {**self.resources, **added}, self._resolver(document, names)

    def _sam_resources(self) -> dict[str, Any]:
        """Return SAM's APIs as declared, and functions that have routes, with nothing but their events."""
        sources: dict[str, Any] = {}
        for resource in self.resources.values():
            if resource.type in _SAM_APIS:
                auth = resource.properties.get("Auth", {})
                default = auth.get("DefaultAuthorizer", "NONE")
                if default not in ("NONE", *auth.get("Authorizers", {})):  # SAM leaves the routes open
                    raise TemplateError(f"{resource.logical_id}: there is no authorizer {default}")
                sources[resource.logical_id] = self.document["Resources"][resource.logical_id]
        for logical_id, declared in self.function_properties():
            events = {name: each for name, each in declared.get("Events", {}).items() if each.get("Type") in _EVENTS}
            alias = {name: declared[name] for name in ("AutoPublishAlias",) if name in declared}
            if events:
                sources[logical_id] = {"Type": _FUNCTION, "Properties": {**_DEPLOYABLE, "Events": events, **alias}}
        return sources

    def function_by_arn(self, arn: str, where: str) -> str:
        """Return the logical id of the function with this ARN, or with an alias of it.

        An alias is its function, because the laptop has no versions. An imported ARN is returned.
        """
        for resource in self.of_type(_FUNCTION):
            if self._function_arn(resource) in (arn, arn.rpartition(":")[0]):
                return resource.logical_id
        if arn in self.imports.values():
            return arn
        raise TemplateError(f"{where}: {arn} is not one of this template's functions")

    def function_properties(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield logical id and properties of each function, merged with Globals."""
        for resource in self.of_type(_FUNCTION):
            yield resource.logical_id, self._function_properties(resource)

    def _function_properties(self, resource: Resource) -> dict[str, Any]:
        shared = self.document.get("Globals", {}).get("Function", {})
        merged = {**shared, **resource.properties}
        variables = {
            **shared.get("Environment", {}).get("Variables", {}),
            **resource.properties.get("Environment", {}).get("Variables", {}),
        }
        if variables:
            merged["Environment"] = {"Variables": variables}
        check_supported(merged, *_FUNCTION_MEMBERS, resource.logical_id)
        return merged

    def _function_name(self, resource: Resource) -> str:
        name = resource.properties.get("FunctionName")
        if isinstance(name, str):
            return name
        if name is None:
            return f"{self.account.stack_name}-{resource.logical_id}"
        names = {**self.account.pseudo_parameters(), **self.parameters}
        return Resolver(names, {}, {}).text(name, f"{resource.logical_id}.FunctionName")

    def _function_arn(self, resource: Resource) -> str:
        return self.account.function_arn(self._function_name(resource))

    def _alias_arn(self, resource: Resource) -> str:
        declared = resource.properties.get("FunctionName")
        for function in self.of_type(_FUNCTION):
            if declared == {"Ref": function.logical_id}:
                return f"{self._function_arn(function)}:{resource.properties.get('Name')}"
        raise TemplateError(f"{resource.logical_id}.FunctionName is not a function of this template")

    def relocated(self, text: str, origins: Mapping[str, str]) -> str:
        """Return a text with other addresses of APIs. `origins`: see `function`."""
        for logical_id, origin in origins.items():
            host = f"{logical_id.lower()}.execute-api.{self.account.region}.{self.account.url_suffix}"
            text = text.replace(f"https://{host}", origin)
        return text
