"""Each function's role in template.yaml, held against the calls that the function really makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from functions.introspect_token import composition as introspect_token
from functions.introspect_token.settings import Settings as IntrospectTokenSettings
from functions.issue_token import composition as issue_token
from functions.issue_token.exchange import ACCESS_TOKEN
from functions.issue_token.settings import Settings as IssueTokenSettings
from functions.publish_jwks import composition as publish_jwks
from functions.publish_jwks.settings import Settings as PublishJwksSettings
from functions.revoke_token import composition as revoke_token
from functions.revoke_token.settings import Settings as RevokeTokenSettings
from functions.shared.clients.grant_types import TOKEN_EXCHANGE
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from local.aws import TEMPLATE
from local.demo_clients import COUNTRY_API, CUSTOMER_API
from local.gateway.template import Template
from local.provisioning import names, provision
from tests.support.aws import CREDENTIALS
from tests.support.dpop_proofs import proof
from tests.support.proxy_events import basic, form_event, proxy_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from functions.shared.web.endpoint import Endpoint
    from functions.shared.web.responses import ProxyResponse

Permission = tuple[str, str]
"""An action, and the logical id of what it is done to."""

JWT, OPAQUE, API = "service-client-jwt", "service-client-opaque", "service-client-api"
SIGNED = {"Accept": "application/token-introspection+jwt"}


class Stack:
    """The template's stack in moto, and what each of its functions called there."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.names = names(template)
        self.calls: dict[str, set[Permission]] = {}
        parts: Any = {"clock": SYSTEM_CLOCK, "emit": lambda _: None}
        self.issue_token = issue_token.build(
            IssueTokenSettings.from_env(self._environment("IssueToken")),
            aws=self._recorded("IssueToken"),
            **parts,
        )
        self.introspect_token = introspect_token.build(
            IntrospectTokenSettings.from_env(self._environment("IntrospectToken")),
            aws=self._recorded("IntrospectToken"),
            **parts,
        )
        self.revoke_token = revoke_token.build(
            RevokeTokenSettings.from_env(self._environment("RevokeToken")),
            aws=self._recorded("RevokeToken"),
            **parts,
        )
        self.publish_jwks = publish_jwks.build(
            PublishJwksSettings.from_env(self._environment("PublishJwks")),
            aws=self._recorded("PublishJwks"),
            **parts,
        )

    def _environment(self, function: str) -> dict[str, str]:
        return dict(self.template.function(function, self.names).environment)

    def _recorded(self, function: str) -> AwsClients:
        aws, calls = AwsClients(), self.calls.setdefault(function, set())
        logical_ids = self._logical_ids()

        def record(params: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
            resource = params.get("TableName") or params["SecretId"]
            service = model.service_model.endpoint_prefix
            calls.add((f"{service}:{model.name}", logical_ids[resource]))

        for service_client in (aws.dynamodb, aws.secrets_manager):
            hook: Any = record
            service_client.meta.events.register("before-parameter-build.*.*", hook)
        return aws

    def allowed(self, function: str) -> set[Permission]:
        """What the function's role lets it do, what it does through a key of ours aside."""
        properties = self.template.properties(function, self.names)
        logical_ids = self._logical_ids()
        return {
            (action, logical_ids[resource])
            for policy in properties["Policies"]
            for statement in policy["Statement"]
            for action in _list(statement["Action"])
            for resource in _list(statement["Resource"])
            if not action.startswith("kms:")
        }

    def _logical_ids(self) -> dict[str, str]:
        return {name: value.removesuffix(".Arn") for value, name in self.names.items()}

    def token(self, client_id: str, **parameters: str) -> str:
        """Ask for a token."""
        given = {"grant_type": "client_credentials", **parameters}
        answer = self._post(self.issue_token, client_id, given)
        return str(json.loads(answer["body"])["access_token"])

    def _post(
        self, endpoint: Endpoint, client_id: str, parameters: dict[str, str], **headers: str
    ) -> ProxyResponse:
        sent = {**basic(client_id, f"{client_id}-secret"), **headers}
        answer = endpoint(form_event("/", parameters, headers=sent))
        assert answer["statusCode"] < 500, answer
        return answer

    def use_everything(self) -> None:
        """Send requests that need everything that the functions call."""
        scope = "country.read customer.read"
        asked = {"grant_type": "client_credentials"}
        self._post(self.issue_token, JWT, asked, Authorization="Basic eDp5")
        url = f"{self._environment('IssueToken')['ISSUER']}/oauth2/token"
        self._post(self.issue_token, JWT, asked, DPoP=proof(now=SYSTEM_CLOCK(), htu=url))
        received = self.token(API, resource=CUSTOMER_API, scope=scope)
        for subject_token in (received, self.token(OPAQUE)):
            exchange = {
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": subject_token,
                "subject_token_type": ACCESS_TOKEN,
                "resource": COUNTRY_API,
            }
            self._post(self.issue_token, "customer-service", exchange)
        for owner in (JWT, OPAQUE):
            token = {"token": self.token(owner)}
            self._post(self.introspect_token, owner, token, **SIGNED)
            self._post(self.introspect_token, owner, token, Authorization="Basic eDp5")
            self._post(self.revoke_token, owner, token)
            self._post(self.revoke_token, owner, token, Authorization="Basic eDp5")
        self.publish_jwks(proxy_event("GET", "/oauth2/jwks"))


def _list(value: str | list[str]) -> Iterable[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        template = Template.read(TEMPLATE)
        provision(template)
        stack = Stack(template)
        stack.use_everything()
        yield stack


FUNCTIONS = ["IssueToken", "IntrospectToken", "RevokeToken", "PublishJwks"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_all_that_it_does(stack: Stack, function: str) -> None:
    assert stack.calls[function] - stack.allowed(function) == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_nothing_that_it_never_does(stack: Stack, function: str) -> None:
    # Client assertions, which need a key that was registered before, put what they used.
    assertions = {("dynamodb:PutItem", "StateTable")}
    assert stack.allowed(function) - stack.calls[function] <= assertions


def test_a_function_that_calls_nothing_may_call_nothing(stack: Stack) -> None:
    assert "Policies" not in stack.template.properties("PublishMetadata", stack.names)
