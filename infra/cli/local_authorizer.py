"""The deployed authorizer, run locally: its own code with the deployed settings, keys and rules.

It reads the same data as the function and writes nothing, so a DPoP proof stays unused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from authorizer.app import build, read_scope_map
from authorizer.authorizer import Decision, LambdaAuthorizer
from authorizer.clock import Deadline
from authorizer.event import AuthorizerEvent
from authorizer.introspection import Credentials
from authorizer.jws import ALGORITHMS
from authorizer.multi_api import ParameterStore
from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, parse_route
from authorizer.scope_map import ApiRules, ScopeMap, ScopeMapError, parse_api_rules
from authorizer.settings import Settings, SettingsError
from authorizer.state_table import StateTable
from functions.shared.web.endpoint import INTROSPECTION_PATH

from .. import local_stack
from .context import CommandContext, port
from .errors import CommandError, NotFoundError, UsageError
from .input_files import parse_yaml, read_text

DEFAULT = "$default"
"""The route of an HTTP API for requests that match no other route."""

SHARED = "SharedAuthorizer"
SECONDS = 5.0
"""Deadline of a decision."""

_API = re.compile(r"([A-Za-z0-9]+)(?:/([A-Za-z0-9_-]+|\$default))?")
_SOME_ACCOUNT = "123456789012"


def chosen_route(scope_map: ScopeMap, method: str, path: str) -> str:
    """Return the key of the best matching route of the scope map, or `$default`.

    Routes of the API that are not in the scope map are unknown here.
    """
    wildcards = {ANY_SEGMENT: "[^/]+", REST_OF_PATH: ".*"}
    fitting = [
        route
        for route in scope_map.routes_for(scope_map.scopes())
        if route.method == method
        and re.fullmatch("/" + "/".join(wildcards.get(each) or re.escape(each) for each in route.segments), path)
    ]
    if not fitting:
        return DEFAULT
    names = {ANY_SEGMENT: "{part}", REST_OF_PATH: "{rest+}"}
    segments = min(fitting, key=lambda route: route.precedence()).segments
    return f"{method} /{'/'.join(names.get(each, each) for each in segments)}"


def laptop_environment(issuer: str, credentials: str, *, shared: bool = False) -> dict[str, str]:
    """Return the environment of the laptop's authorizers: template.yaml with its defaults."""
    rules = {"API_RULES": f"/gatehouse/{local_stack.STACK_NAME}/apis"} if shared else {}
    return {
        "ISSUER": issuer,
        "ALGORITHMS": ",".join(sorted(ALGORITHMS)),
        "JWKS_HARD_AGE": "3600",
        "INTROSPECTION_URI": issuer + INTROSPECTION_PATH,
        "INTROSPECTION_SECRET_ARN": credentials,
        **rules,
    }


def guarded_url(context: CommandContext, path: str, *, with_certificate: bool) -> str:
    """Return the URL of a path of the deployment's guarded API.

    On the laptop, mutual TLS has its own port.

    Raises:
        UsageError: the path does not begin with a slash.
        NotFoundError: the stack has no sample API.
    """
    address = context.deployment.guarded_api
    if not address:
        raise NotFoundError(
            f"The stack {context.deployment.name} has no sample API (SampleApi=false).", "Omit --headers and --curl."
        )
    if context.deployment.is_local and with_certificate:
        parts = urlsplit(address)
        tls_port = port(context.environ, "GATEHOUSE_MTLS_API_PORT")
        address = urlunsplit(("https", f"{parts.hostname}:{tls_port}", parts.path, "", ""))
    return address_of(address, path)


def address_of(api: str, path: str) -> str:
    """Return the URL of a path of an API; raises UsageError."""
    if not path.startswith("/"):
        raise UsageError(f"{path!r} is not a path of the API.", "Use for example --request GET /country.")
    return api + path


@dataclass(frozen=True)
class Call:
    """A request to the guarded API."""

    method: str
    path: str
    headers: Mapping[str, str]
    certificate: str | None = None


@dataclass(frozen=True)
class LocalAuthorizer:
    """An authorizer that decides as the deployed one does; default: that of the stack's sample API.

    `api` is an API with the shared authorizer, as ID or ID/STAGE. `function` is the name or ARN of
    another authorizer, `settings_file` has its variables. `scope_map_file` replaces the scope map
    or the API's rules. `notices` collects its log notices, such as faults of an API's rules.
    """

    context: CommandContext
    api: str | None = None
    function: str | None = None
    settings_file: Path | None = None
    scope_map_file: Path | None = None
    route: str | None = None
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if [self.api, self.function, self.settings_file].count(None) < 2:
            raise UsageError("--api, --function and --settings exclude each other.", "Choose one.")
        if self.api is not None and not _API.fullmatch(self.api):
            raise UsageError(f"{self.api!r} is not an API id.", "Use ID or ID/STAGE, such as a1b2c3/live.")
        if self.route not in (None, DEFAULT):
            try:
                parse_route(self.route.replace("ANY ", "GET ", 1))
            except ValueError:
                problem = f"{self.route!r} is not a route."
                raise UsageError(problem, "Use the route key, such as GET /customers/{id}.") from None

    @property
    def _is_own(self) -> bool:
        """True for the authorizer of the stack's sample API."""
        return [self.api, self.function, self.settings_file] == [None] * 3

    @property
    def _api_and_stage(self) -> tuple[str, str]:
        """Id and stage of the API; placeholders if unknown, because no decision depends on them."""
        found = _API.fullmatch(self.api or "")
        return (found[1], found[2] or DEFAULT) if found else ("api", DEFAULT)

    def _environment(self) -> dict[str, str]:
        if self.settings_file is not None:
            document = parse_yaml(read_text(self.settings_file), str(self.settings_file))
            if isinstance(document, dict) and all(isinstance(value, str) for value in document.values()):
                return document
            raise UsageError(
                f"{self.settings_file} is not a mapping of variables.",
                'Write NAME: "value" for each variable, in YAML or JSON; quote true and numbers.',
            )
        deployment = self.context.deployment
        if deployment.is_local:
            if self.function is not None:
                raise UsageError(
                    "The laptop has no deployed functions.",
                    "Write the authorizer's variables to a file and use --settings FILE.",
                )
            credentials = deployment.resource("IntrospectionCredentials")
            return laptop_environment(deployment.issuer, credentials, shared=self.api is not None)
        if self._is_own and not deployment.guarded_api:
            raise UsageError(
                f"The stack {deployment.name} has no sample API (SampleApi=false).",
                "Name an API of another stack with --api, or an authorizer with --function.",
            )
        name = self.function or deployment.resource(SHARED if self.api else "Authorizer")
        found = self.context.aws.client("lambda").get_function_configuration(FunctionName=name)
        return dict(found.get("Environment", {}).get("Variables", {}))

    @cached_property
    def settings(self) -> Settings:
        """The authorizer's settings; raises CommandError."""
        try:
            return Settings.from_env(self._environment())
        except SettingsError as error:
            raise CommandError(
                f"The authorizer cannot start: {error}.", "Fix the function's environment variables and redeploy."
            ) from error

    @cached_property
    def scope_map(self) -> ScopeMap:
        """The scope map; raises UsageError."""
        if self._rules is not None:
            return self._rules.scope_map
        deployed = self.settings.scope_map
        if self.scope_map_file is None and deployed is not None and not deployed.startswith("{"):
            raise UsageError("The deployed authorizer reads its own scope map file.", "Name it with --scope-map.")
        try:
            return read_scope_map(str(self.scope_map_file) if self.scope_map_file else deployed)
        except (ScopeMapError, OSError) as error:
            raise UsageError(f"The scope map is not valid: {error}.") from error

    @property
    def audiences(self) -> frozenset[str]:
        """Accepted audiences; empty if any is accepted."""
        return (self._rules.audiences if self._rules else frozenset()) or self.settings.audiences

    @property
    def rules_name(self) -> str | None:
        """Source of the API's rules; None for an authorizer with one scope map."""
        if self.settings.api_rules is None:
            return None
        return str(self.scope_map_file or f"{self.settings.api_rules}/{self._api_and_stage[0]}")

    @property
    def address(self) -> str:
        """The API's URL, which a DPoP proof names."""
        if self._is_own:
            return self.context.deployment.guarded_api
        api, stage = self._api_and_stage
        region = self.context.deployment.region
        return self.settings.resource or f"https://{api}.execute-api.{region}.amazonaws.com/{stage}"

    def judge(self, call: Call) -> Decision:
        """Return the decision about a request; raises AuthorizerError."""
        return self._lambda_authorizer.authorizer.authorize(AuthorizerEvent(self._event(call)), Deadline(SECONDS))

    def route_of(self, call: Call) -> str:
        """Return the route that API Gateway chooses for a request."""
        if self.route is None:
            return chosen_route(self.scope_map, call.method, call.path)
        return self.route.replace("ANY ", f"{call.method} ", 1)

    @cached_property
    def stage_arn(self) -> str:
        """The ARN of the API's stage, with which the resources of a policy begin."""
        deployment = self.context.deployment
        parts = deployment.resource("KeyRingSecret").split(":")
        account = parts[4] if len(parts) > 6 else _SOME_ACCOUNT
        api, stage = self._api_and_stage
        if self._is_own:
            api = deployment.resources.get("GuardedApi", "laptop")
            stage = urlsplit(deployment.guarded_api).path.strip("/") or "stage"
        return f"arn:aws:execute-api:{deployment.region}:{account}:{api}/{stage}"

    def credentials(self) -> Credentials:
        """Return the authorizer's credentials for the introspection endpoint."""
        own = (self.settings.introspection_client_id, self.settings.introspection_client_secret)
        if own[0] and own[1]:
            return Credentials(own[0], own[1])
        arn = self.settings.introspection_secret_arn or ""
        answer = self.context.aws.client("secretsmanager").get_secret_value(SecretId=arn)
        members = json.loads(answer["SecretString"])
        return Credentials(members["client_id"], members["client_secret"])

    @cached_property
    def _lambda_authorizer(self) -> LambdaAuthorizer:
        settings = self.settings
        if settings.api_rules is None:
            _ = self.scope_map  # raises a better message than the authorizer
            if self.scope_map_file is not None:
                settings = settings._replace(scope_map=str(self.scope_map_file))
        table = settings.deny_list_table
        return build(
            # Not available here, and without influence on the decision.
            settings._replace(jwks_seed=None, usage_keys=None, replay_table=None),
            clock=self.context.now,
            emit=self._collect_notice,
            credential_source=lambda _renew, _deadline: self.credentials(),
            rules_source=self._rules_source,
            deny_list_table=StateTable(table, self.context.aws) if table else None,
        )

    def _collect_notice(self, line: str) -> None:
        if notice := json.loads(line).get("notice"):
            self.notices.append(notice)

    @property
    def _rules(self) -> ApiRules | None:
        """The API's rules, after the authorizer has validated them."""
        text = self._rules_source.text
        return None if text is None else parse_api_rules(text.encode())

    @cached_property
    def _rules_source(self) -> _Rules:
        deployed = ParameterStore(self.settings.api_rules or "", self.context.aws)
        return _Rules(self.scope_map_file, deployed)

    def _event(self, call: Call) -> dict[str, object]:
        """Return the event of a REST API, type REQUEST, or for simple responses of an HTTP API."""
        address, arn = urlsplit(self.address), f"{self.stage_arn}/{call.method}{call.path}"
        path = address.path + call.path
        seen = {"clientCert": {"clientCertPem": call.certificate}} if call.certificate else {}
        request: dict[str, object] = {"domainName": address.hostname, "path": path, "stage": address.path.strip("/")}
        if not self.settings.simple_response:
            return {
                "type": "REQUEST",
                "methodArn": arn,
                "httpMethod": call.method,
                "path": call.path,
                "headers": dict(call.headers),
                "requestContext": {**request, "identity": seen},
            }
        request |= {"http": {"method": call.method, "path": path}, "authentication": seen}
        return {
            "version": "2.0",
            "type": "REQUEST",
            "routeArn": arn,
            "routeKey": self.route_of(call),
            "headers": {name.lower(): value for name, value in call.headers.items()},
            "requestContext": request,
        }


@dataclass(slots=True)
class _Rules:
    """The rules of an API, from a file or as deployed. `text` is what the authorizer has read."""

    file: Path | None
    source: ParameterStore
    text: str | None = None

    def read(self, api: str, deadline: Deadline) -> str | None:
        """Return the rules; raises NotFoundError, UsageError for a file."""
        self.text = read_text(self.file) if self.file else self.source.read(api, deadline)
        return self.text
