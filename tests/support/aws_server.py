"""The authorization server on moto's AWS, composed as its handlers compose it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from functions.introspect_token import handler as introspect_token
from functions.issue_token import handler as issue_token
from functions.publish_jwks import handler as publish_jwks
from functions.revoke_token import handler as revoke_token
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.handler import Settings as RotateKeysSettings
from functions.shared.authorization_server import ServerSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.storage.secrets_manager import SecretStore
from functions.shared.web.endpoint import INTROSPECTION_PATH, Endpoint
from tests.support.aws import CLIENTS_TABLE, ENVIRONMENT, AwsAccount
from tests.support.clock import ManualClock
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import SECRET, generate

GRANT = {"grant_type": "client_credentials"}


@dataclass
class AwsServer:
    """Endpoints that share an account, a clock and a log; `restart` makes them cold."""

    aws: AwsAccount
    clock: ManualClock
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clients = DynamoDbClients(self.aws, CLIENTS_TABLE)
        self.secrets = SecretStore(self.aws)
        self.restart()

    def restart(self) -> None:
        """Build every endpoint again."""
        self.token_endpoint = self.build(issue_token)
        self.introspection_endpoint = self.build(introspect_token)
        self.revocation_endpoint = self.build(revoke_token)
        self.jwks_endpoint = self.build(publish_jwks)

    def build(self, function: ModuleType, **parts: Any) -> Endpoint:
        """Return a cold endpoint of a function."""
        settings = getattr(function, "Settings", ServerSettings).from_env(ENVIRONMENT)
        built: Endpoint = function.build(
            settings, clock=self.clock, aws=self.aws.requests, emit=self.log.append, **parts
        )
        return built

    def make_keys(self) -> None:
        """Run `rotate_keys` for the first time, with a key of the tests."""
        rotate_keys.build(
            RotateKeysSettings.from_env(ENVIRONMENT), clock=self.clock, secrets=self.secrets, generate=generate
        ).run()

    def status(self, client_id: str, secret: str = SECRET, **parameters: str) -> int:
        """Return the status of a token request."""
        event = token_event(GRANT | parameters, headers=basic(client_id, secret))
        return self.token_endpoint(event)["statusCode"]

    def token(self, parameters: dict[str, str], **rest: Any) -> dict[str, Any]:
        """Send a token request that is granted."""
        return granted(self.token_endpoint(token_event(parameters, **rest)))

    def introspect(self, token: str, caller: str, secret: str = SECRET) -> dict[str, Any]:
        """Introspect a token."""
        headers = basic(caller, secret)
        return granted(self.introspection_endpoint(form_event(INTROSPECTION_PATH, {"token": token}, headers=headers)))


def granted(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a successful response."""
    assert response["statusCode"] == 200, response
    members: dict[str, Any] = json.loads(response["body"])
    return members
