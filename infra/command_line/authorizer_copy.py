"""The deployment's authorizer, here: its own code, with its settings, keys and lists.

It reads what the function reads and writes nothing: a proof that is looked at here stays unused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from authorizer.composition import build
from authorizer.deny_list import DynamoDbRevokedTokens
from authorizer.introspection import Credentials
from authorizer.scope_map import ScopeMap, ScopeMapError, parse_scope_map
from authorizer.settings import Settings, SettingsError
from functions.shared.clients.client_record import SIGNING_ALGORITHMS
from functions.shared.web import paths
from infra.command_line.errors import CommandError, ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mypy_boto3_dynamodb import DynamoDBClient

    from authorizer import aws
    from authorizer.gate import Decision, Gate
    from infra.command_line.session import Session

SECONDS: Final = 5.0
"""How long the authorizer may take here; there is no gateway that waits."""

_SOME_ACCOUNT: Final = "123456789012"
_ARN_PARTS: Final = 6


def environment(session: Session) -> dict[str, str]:
    """Return the variables that the deployment's authorizer runs with."""
    deployment = session.deployment
    if not deployment.is_local:
        function = session.aws.client("lambda").get_function_configuration(
            FunctionName=deployment.resource("Authorizer")
        )
        return dict(function.get("Environment", {}).get("Variables", {}))
    return laptop_environment(deployment.issuer, deployment.resource("IntrospectionCredentials"))


def laptop_environment(issuer: str, credentials: str) -> dict[str, str]:
    """Return those of the laptop edition: template.yaml with its defaults."""
    return {
        "ISSUER": issuer,
        "ALGORITHMS": ",".join(SIGNING_ALGORITHMS),
        "JWKS_HARD_AGE": "3600",
        "INTROSPECTION_URI": issuer + paths.INTROSPECTION,
        "INTROSPECTION_SECRET_ARN": credentials,
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
            f"The deployed authorizer cannot start: {error}.", "Mend its environment, and deploy."
        ) from error


@dataclass(frozen=True)
class Call:
    """A request to the guarded API, as its caller sends it."""

    method: str
    path: str
    headers: Mapping[str, str]
    certificate: str | None = None


@dataclass(frozen=True)
class AuthorizerCopy:
    """An authorizer that decides as the deployed one does."""

    session: Session
    map_file: Path | None = None

    @cached_property
    def settings(self) -> Settings:
        """The deployed authorizer's settings."""
        return read_settings(environment(self.session))

    @cached_property
    def scope_map(self) -> ScopeMap:
        """Which scopes open which routes.

        Raises:
            UsageError: the deployed one reads a file of its own, or the map is not usable.
        """
        said = self.settings.scope_map
        if self.map_file is None and said is not None and not said.startswith("{"):
            raise UsageError(
                "The deployed authorizer has a scope map of its own.", "Name it with --scope-map."
            )
        try:
            return parse_scope_map(self._map_text(said))
        except (ScopeMapError, OSError) as error:
            raise UsageError(f"The scope map cannot be used: {error}.") from error

    def judge(self, call: Call) -> Decision:
        """Return what the request is granted.

        Raises:
            TokenRefused, OwnTrouble: as the authorizer does.
        """
        return self._gate.judge(self._event(call), SECONDS)

    def resource(self, method: str, path: str) -> str:
        """Return the resource of a policy that a request is about."""
        return f"{self._stage_arn}/{method}{path}"

    @cached_property
    def _gate(self) -> Gate:
        settings = self.settings
        if settings.simple_response or settings.api_rules:
            raise CommandError(
                "The deployed authorizer answers for other APIs or without a policy.",
                "Only one that guards the stack's own API can be copied here.",
                ExitCode.REFUSED,
            )
        self.scope_map  # noqa: B018 - complains better than the authorizer would
        # What the function finds in its own folder is not here, and none of it decides.
        settings = settings._replace(
            scope_map=str(self.map_file) if self.map_file else settings.scope_map,
            jwks_seed=None,
            usage_keys=None,
            replay_table=None,
        )
        table = settings.deny_list_table
        return cast(
            "Gate",
            build(
                settings,
                clock=self.session.now,
                emit=lambda _line: None,
                credential_source=self._credentials,
                revoked_tokens=DynamoDbRevokedTokens(table, self._dynamodb) if table else None,
            ),
        )

    def _map_text(self, said: str | None) -> bytes:
        if self.map_file is not None:
            return self.map_file.read_bytes()
        if said is not None:
            return said.encode()
        return files("authorizer").joinpath("scopes.json").read_bytes()

    def _credentials(self, _anew: bool, _seconds: float) -> Credentials:  # noqa: FBT001 - a CredentialSource
        arn = self.settings.introspection_secret_arn or ""
        answer = self.session.aws.secrets_manager.get_secret_value(SecretId=arn)
        members = json.loads(answer["SecretString"])
        return Credentials(members["client_id"], members["client_secret"])

    @property
    def _dynamodb(self) -> aws.DynamoDb:
        return cast("aws.DynamoDb", _CallersDynamoDb(self.session.aws.dynamodb))

    @property
    def _stage_arn(self) -> str:
        deployment = self.session.deployment
        parts = deployment.key_ring_secret.split(":")
        account = parts[4] if len(parts) > _ARN_PARTS else _SOME_ACCOUNT
        api = deployment.resources.get("GuardedApi", "laptop")
        stage = urlsplit(deployment.guarded_api).path.strip("/") or "stage"
        return f"arn:aws:execute-api:{deployment.region}:{account}:{api}/{stage}"

    def _event(self, call: Call) -> dict[str, object]:
        """Return the event that API Gateway would send: REST, of type REQUEST."""
        address = urlsplit(self.session.deployment.guarded_api)
        identity = {"clientCert": {"clientCertPem": call.certificate}} if call.certificate else {}
        return {
            "type": "REQUEST",
            "methodArn": self.resource(call.method, call.path),
            "httpMethod": call.method,
            "path": call.path,
            "headers": dict(call.headers),
            "requestContext": {
                "domainName": address.hostname,
                "path": address.path + call.path,
                "stage": address.path.strip("/"),
                "identity": identity,
            },
        }


@dataclass(frozen=True)
class _CallersDynamoDb:
    """The caller's client, for whoever asks for one that keeps a deadline."""

    dynamodb: DynamoDBClient

    def client(self, _seconds: float) -> DynamoDBClient:
        return self.dynamodb
