"""An authorizer, here: its own code, with the deployed settings, keys, rules and lists.

It reads what the function reads and writes nothing: a proof that is looked at here stays unused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from authorizer.composition import build
from authorizer.deny_list import DynamoDbRevokedTokens
from authorizer.introspection import Credentials
from authorizer.scope_map import ApiRules, ScopeMap, ScopeMapError, parse_api_rules, parse_scope_map
from authorizer.shared_gate import ParameterStore
from infra.cli.terminal.errors import UsageError
from infra.cli.terminal.strict_yaml import read_text
from infra.cli.tokens.api_gateway import chosen_route
from infra.cli.tokens.guards import Guard, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from authorizer import aws
    from authorizer.gate import Decider, Decision
    from authorizer.settings import Settings
    from authorizer.shared_gate import RulesSource
    from infra.cli.session import Session

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
