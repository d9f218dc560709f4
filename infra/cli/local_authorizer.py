"""Which authorizer is looked at: the stack's own, the shared one for an API, or one of your own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

from authorizer.composition import build
from authorizer.deny_list import DynamoDbRevokedTokens
from authorizer.introspection import Credentials
from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, parse_route
from authorizer.scope_map import ApiRules, ScopeMap, ScopeMapError, parse_api_rules, parse_scope_map
from authorizer.settings import Settings, SettingsError
from authorizer.shared_gate import ParameterStore
from functions.shared.clients.client_record import SIGNING_ALGORITHMS
from functions.shared.web import paths
from infra import local_stack
from infra.cli.errors import CommandError, NotFoundError, UsageError
from infra.cli.input_files import parse_yaml, read_text
from infra.cli.stack import port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from authorizer import aws
    from authorizer.gate import Decider, Decision
    from authorizer.routes import Route
    from authorizer.shared_gate import RulesSource
    from infra.cli.context import Session


DEFAULT: Final = "$default"
"""What an HTTP API sends a request to that no other route fits."""


def chosen_route(scope_map: ScopeMap, method: str, path: str) -> str:
    """Return the key of the route that fits a request best; `$default` where none does.

    Routes of the API that the map does not name are not known here: no scope opens them.
    """
    segments = path[1:].split("/")
    fitting = [
        route
        for route in scope_map.routes_for(scope_map.scopes())
        if route.method == method and _fits(route.segments, segments)
    ]
    return _route_key(min(fitting, key=lambda route: route.precedence())) if fitting else DEFAULT


SHARED: Final = "SharedAuthorizer"
_API: Final = re.compile(r"([A-Za-z0-9]+)(?:/([A-Za-z0-9_-]+|\$default))?")


@dataclass(frozen=True, slots=True)
class Guard:
    """An authorizer, and the API that it guards; without any of these the stack's own.

    `api` is an API with the shared authorizer, as its id and, if need be, `/` and its stage.
    `function` is the name or ARN of another authorizer, `settings` a file with the variables of
    one. `scope_map` is a file in place of its scope map, or of the API's rules.
    """

    api: str | None = None
    function: str | None = None
    settings: Path | None = None
    scope_map: Path | None = None
    route: str | None = None

    def __post_init__(self) -> None:
        if [self.api, self.function, self.settings].count(None) < 2:  # noqa: PLR2004 - one at most
            raise UsageError(
                "--api, --function and --settings name an authorizer each.", "Choose one."
            )
        if self.api is not None and not _API.fullmatch(self.api):
            raise UsageError(
                f"{self.api!r} is no API.", "Write its id, or its id and stage: a1b2c3/live."
            )

        if self.route is not None and self.route != DEFAULT and not _is_route(self.route):
            raise UsageError(
                f"{self.route!r} is no route.", "Write it as the API has it: GET /customers/{id}."
            )

    @property
    def is_own(self) -> bool:
        """Whether it is the one in front of the stack's own API."""
        return [self.api, self.function, self.settings] == [None] * 3

    @property
    def place(self) -> tuple[str, str]:
        """The id and the stage of the API, as far as they are known; they decide nothing."""
        found = _API.fullmatch(self.api or "")
        return (found[1], found[2] or "$default") if found else ("api", "$default")

    def environment(self, session: Session) -> dict[str, str]:
        """Return the variables that the authorizer runs with."""
        if self.settings is not None:
            return _of_file(self.settings)
        deployment = session.deployment
        if deployment.is_local:
            if self.function is not None:
                raise UsageError(
                    "On the laptop there are no functions to look up.",
                    "Put the authorizer's variables into a file: --settings FILE.",
                )
            credentials = deployment.resource("IntrospectionCredentials")
            return laptop_environment(deployment.issuer, credentials, shared=self.api is not None)
        if self.is_own and not deployment.guarded_api:
            raise UsageError(
                f"The stack {deployment.name} has no sample API (SampleApi=false).",
                "Name the API of another stack with --api, or an authorizer with --function.",
            )
        name = self.function or deployment.resource(SHARED if self.api else "Authorizer")
        found = session.aws.client("lambda").get_function_configuration(FunctionName=name)
        return dict(found.get("Environment", {}).get("Variables", {}))


def _is_route(text: str) -> bool:
    try:
        parse_route(text.replace("ANY ", "GET ", 1))
    except ValueError:
        return False
    return True


def laptop_environment(issuer: str, credentials: str, *, shared: bool = False) -> dict[str, str]:
    """Return the variables of the laptop's authorizers: template.yaml with its defaults."""
    rules = {"API_RULES": f"/gatehouse/{local_stack.STACK_NAME}/apis"} if shared else {}
    return {
        "ISSUER": issuer,
        "ALGORITHMS": ",".join(SIGNING_ALGORITHMS),
        "JWKS_HARD_AGE": "3600",
        "INTROSPECTION_URI": issuer + paths.INTROSPECTION,
        "INTROSPECTION_SECRET_ARN": credentials,
        **rules,
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of an authorizer.

    Raises:
        CommandError: it could not start with them either.
    """
    try:
        return Settings.from_env(environ)
    except SettingsError as error:
        raise CommandError(
            f"The authorizer cannot start: {error}.", "Mend its environment, and deploy."
        ) from error


def _of_file(path: Path) -> dict[str, str]:
    document = parse_yaml(read_text(path), str(path))
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise UsageError(
            f"{path} is no list of variables.",
            'Write NAME: value for each, in YAML or JSON; a value is a text: "true", "300".',
        )
    return document


def guarded_url(session: Session, path: str, *, with_certificate: bool) -> str:
    """Return the address of a path of the deployment's own guarded API.

    On a laptop mutual TLS has a port of its own; in an account the API's name asks for it.

    Raises:
        UsageError: that is no path.
        NotFoundError: the stack has no such API.
    """
    address = session.deployment.guarded_api
    if not address:
        raise NotFoundError(
            f"The stack {session.deployment.name} has no sample API (SampleApi=false).",
            "Take the token alone, without --headers and --curl.",
        )
    if session.deployment.is_local and with_certificate:
        parts = urlsplit(address)
        tls_port = port(session.outside.environ, "GATEHOUSE_MTLS_API_PORT")
        address = urlunsplit(("https", f"{parts.hostname}:{tls_port}", parts.path, "", ""))
    return address_of(address, path)


def address_of(api: str, path: str) -> str:
    """Return the address of a path of an API.

    Raises:
        UsageError: that is no path.
    """
    if not path.startswith("/"):
        raise UsageError(f"{path!r} is no path of the API.", "Such as: --request GET /country.")
    return api + path


SECONDS: Final = 5.0
"""How long the authorizer may take here; there is no gateway that waits."""

_SOME_ACCOUNT: Final = "123456789012"
_ARN_PARTS: Final = 6


@dataclass(frozen=True)
class Call:
    """A request to the guarded API, as its caller sends it."""

    method: str
    path: str
    headers: Mapping[str, str]
    certificate: str | None = None


@dataclass(frozen=True)
class AuthorizerCopy:
    """An authorizer that decides as the deployed one does.

    `notices` are what it has said beside its decisions, such as what is wrong with an API's rules.
    """

    session: Session
    guard: Guard = field(default_factory=Guard)
    notices: list[str] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        """The deployed authorizer's settings."""
        return read_settings(self.guard.environment(self.session))

    @cached_property
    def scope_map(self) -> ScopeMap:
        """Which scopes open which routes.

        Raises:
            UsageError: the deployed one reads a file of its own, or the map is not usable.
        """
        if self._rules is not None:
            return self._rules.scope_map
        said = self.settings.scope_map
        if self.guard.scope_map is None and said is not None and not said.startswith("{"):
            raise UsageError(
                "The deployed authorizer has a scope map of its own.", "Name it with --scope-map."
            )
        try:
            return parse_scope_map(self._map_text(said))
        except (ScopeMapError, OSError) as error:
            raise UsageError(f"The scope map cannot be used: {error}.") from error

    @property
    def audiences(self) -> frozenset[str]:
        """What a token has to be meant for; empty where nobody asks."""
        rules = self._rules
        return (rules.audiences if rules else frozenset()) or self.settings.audiences

    @property
    def rules_name(self) -> str | None:
        """Where the rules of the API are; None for an authorizer that has one scope map."""
        if self.settings.api_rules is None:
            return None
        file = self.guard.scope_map
        return str(file) if file else f"{self.settings.api_rules}/{self.guard.place[0]}"

    @property
    def address(self) -> str:
        """The API's address, which a proof is made for."""
        if self.guard.is_own:
            return self.session.deployment.guarded_api
        api, stage = self.guard.place
        region = self.session.deployment.region
        return self.settings.resource or f"https://{api}.execute-api.{region}.amazonaws.com/{stage}"

    def judge(self, call: Call) -> Decision:
        """Return what the request is granted.

        Raises:
            TokenRefused, OwnTrouble: as the authorizer does.
        """
        event = self._http_event(call) if self.settings.simple_response else self._rest_event(call)
        return self._decider.judge(event, SECONDS)

    def route(self, call: Call) -> str:
        """Return the route that API Gateway chooses for a request, as far as it is known here."""
        if self.guard.route is None:
            return chosen_route(self.scope_map, call.method, call.path)
        return self.guard.route.replace("ANY ", f"{call.method} ", 1)

    def resource(self, method: str, path: str) -> str:
        """Return the resource of a policy that a request is about."""
        return f"{self._stage_arn}/{method}{path}"

    def credentials(self) -> Credentials:
        """Return what the authorizer authenticates with at the introspection endpoint."""
        own = (self.settings.introspection_client_id, self.settings.introspection_client_secret)
        if own[0] and own[1]:
            return Credentials(own[0], own[1])
        arn = self.settings.introspection_secret_arn or ""
        answer = self.session.aws.secrets_manager.get_secret_value(SecretId=arn)
        members = json.loads(answer["SecretString"])
        return Credentials(members["client_id"], members["client_secret"])

    @cached_property
    def _decider(self) -> Decider:
        settings = self.settings
        if settings.api_rules is None:
            self.scope_map  # noqa: B018 - complains better than the authorizer would
            if self.guard.scope_map is not None:
                settings = settings._replace(scope_map=str(self.guard.scope_map))
        table = settings.deny_list_table
        return build(
            # What the function finds in its own folder is not here, and none of it decides.
            settings._replace(jwks_seed=None, usage_keys=None, replay_table=None),
            clock=self.session.now,
            emit=self._hear,
            credential_source=lambda _anew, _seconds: self.credentials(),
            rules_source=self._rules_source,
            revoked_tokens=DynamoDbRevokedTokens(table, self._dynamodb) if table else None,
        )

    def _hear(self, line: str) -> None:
        notice = json.loads(line).get("notice")
        if notice:
            self.notices.append(notice)

    @cached_property
    def _rules(self) -> ApiRules | None:
        """The API's rules, once the authorizer has read them and found them good."""
        if self.settings.api_rules is None:
            return None
        text = self._rules_source.text
        return None if text is None else parse_api_rules(text.encode())

    @cached_property
    def _rules_source(self) -> _ReadOnce:
        if self.guard.scope_map is not None:
            return _ReadOnce(_RulesFile(self.guard.scope_map))
        systems_manager = cast("aws.SystemsManager", _Callers(self.session.aws.client("ssm")))
        return _ReadOnce(ParameterStore(self.settings.api_rules or "", systems_manager))

    def _map_text(self, said: str | None) -> bytes:
        if self.guard.scope_map is not None:
            return self.guard.scope_map.read_bytes()
        if said is not None:
            return said.encode()
        return files("authorizer").joinpath("scopes.json").read_bytes()

    @property
    def _dynamodb(self) -> aws.DynamoDb:
        return cast("aws.DynamoDb", _Callers(self.session.aws.dynamodb))

    @property
    def _stage_arn(self) -> str:
        deployment = self.session.deployment
        parts = deployment.key_ring_secret.split(":")
        account = parts[4] if len(parts) > _ARN_PARTS else _SOME_ACCOUNT
        api, stage = self.guard.place
        if self.guard.is_own:
            api = deployment.resources.get("GuardedApi", "laptop")
            stage = urlsplit(deployment.guarded_api).path.strip("/") or "stage"
        return f"arn:aws:execute-api:{deployment.region}:{account}:{api}/{stage}"

    def _rest_event(self, call: Call) -> dict[str, object]:
        """Return the event that API Gateway would send: REST, of type REQUEST."""
        identity = {"clientCert": {"clientCertPem": call.certificate}} if call.certificate else {}
        return {
            "type": "REQUEST",
            "methodArn": self.resource(call.method, call.path),
            "httpMethod": call.method,
            "path": call.path,
            "headers": dict(call.headers),
            "requestContext": {**self._context(call), "identity": identity},
        }

    def _http_event(self, call: Call) -> dict[str, object]:
        """Return the event of an HTTP API in payload format 2.0, which simple answers are for."""
        context = self._context(call)
        seen = {"clientCert": {"clientCertPem": call.certificate}} if call.certificate else {}
        return {
            "version": "2.0",
            "type": "REQUEST",
            "routeArn": self.resource(call.method, call.path),
            "routeKey": self.route(call),
            "headers": {name.lower(): value for name, value in call.headers.items()},
            "requestContext": {
                **context,
                "http": {"method": call.method, "path": context["path"]},
                "authentication": seen,
            },
        }

    def _context(self, call: Call) -> dict[str, object]:
        address = urlsplit(self.address)
        return {
            "domainName": address.hostname,
            "path": address.path + call.path,
            "stage": address.path.strip("/"),
        }


@dataclass(slots=True)
class _ReadOnce:
    """A source of rules, and what it said: the explanation is of what was decided by."""

    source: RulesSource
    text: str | None = None

    def read(self, api: str, seconds: float) -> str | None:
        """Return the rules."""
        self.text = self.source.read(api, seconds)
        return self.text


@dataclass(frozen=True, slots=True)
class _RulesFile:
    """An API's rules from a file, for every API: to try them before they are deployed."""

    path: Path

    def read(self, _api: str, _seconds: float) -> str | None:
        """Return the rules; raises NotFoundError, UsageError."""
        return read_text(self.path)


@dataclass(frozen=True)
class _Callers:
    """The caller's client of a service, for whoever asks for one that keeps a deadline."""

    made: Any

    def client(self, _seconds: float) -> Any:  # noqa: ANN401 - boto3 makes a class for each service
        """Return it."""
        return self.made


def _route_key(route: Route) -> str:
    """Write a route as a route key. What its parameters are called does not matter."""
    names = {ANY_SEGMENT: "{part}", REST_OF_PATH: "{rest+}"}
    return f"{route.method} /{'/'.join(names.get(each, each) for each in route.segments)}"


def _fits(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    if pattern[-1:] == (REST_OF_PATH,):
        head = pattern[:-1]
        return len(segments) >= len(pattern) and _fits(head, segments[: len(head)])
    return len(pattern) == len(segments) and all(
        segment if named == ANY_SEGMENT else named == segment
        for named, segment in zip(pattern, segments, strict=True)
    )
