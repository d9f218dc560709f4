"""The rotator's role and the signers' right to sign, held against the calls that they make."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from functions.rotate_keys.composition import build
from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.settings import Settings
from functions.shared.keys.signers import RingSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.secret_store import SecretsManagerStore
from local.aws import TEMPLATE
from local.gateway.template import Template
from local.provisioning import names, provision
from tests.support.aws import CREDENTIALS
from tests.support.memory_stores import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DAY = 86_400
STACK = "gatehouse"
OWN_TAG = {"gatehouse:stack": STACK}


class Call:
    """A call: what is done to what, and the tags that a policy can ask about."""

    def __init__(self, action: str, resource: str, context: Mapping[str, str]) -> None:
        self.action = action
        self.resource = resource
        self.context = context

    def __repr__(self) -> str:
        return f"{self.action} on {self.resource}"


class Account:
    """The template's stack in moto; calls are recorded."""

    def __init__(self, edition: str) -> None:
        self.template = Template.read(TEMPLATE, {"KeyEdition": edition})
        self.names = names(self.template)
        provision(self.template)
        self.aws = AwsClients()
        self.calls: list[Call] = []
        hook: Any = self._record
        for client in (self.aws.secrets_manager, self.aws.kms):
            client.meta.events.register("before-parameter-build.*.*", hook)

    def _record(self, params: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
        service = model.service_model.endpoint_prefix
        key = params.get("KeyId") or params.get("TargetKeyId")
        resources = [params.get("SecretId"), key, params.get("AliasName")]
        context = {f"aws:RequestTag/{tag['TagKey']}": tag["TagValue"] for tag in
                   params.get("Tags", [])}  # fmt: skip
        for resource in [name for name in resources if name] or ["*"]:
            found = self._key_arn(resource) if resource == key else self._alias_arn(resource)
            tags = self._tags(resource) if resource == key else {}
            self.calls.append(Call(f"{service}:{model.name}", found, {**context, **tags}))

    def _key_arn(self, key: str) -> str:
        return f"arn:aws:kms:us-east-1:123456789012:key/{key.rpartition('/')[2]}"

    def _alias_arn(self, name: str) -> str:
        is_alias = name.startswith("alias/")
        return f"arn:aws:kms:us-east-1:123456789012:{name}" if is_alias else name

    def _tags(self, key: str) -> dict[str, str]:
        tags = AwsClients().kms.list_resource_tags(KeyId=key)["Tags"]
        return {f"aws:ResourceTag/{tag['TagKey']}": tag["TagValue"] for tag in tags}

    def statements(self, function: str) -> list[dict[str, Any]]:
        properties = self.template.properties(function, self.names)
        return [statement for policy in properties["Policies"] for statement in policy["Statement"]]

    def allows(self, function: str, call: Call) -> bool:
        return any(_matches(statement, call) for statement in self.statements(function))

    def live_through_a_key(self, edition: str) -> None:
        """Make a ring, rotate, sign, retire and delete."""
        environ = dict(self.template.function("RotateKeys", self.names).environment)
        settings = Settings.from_env(environ)
        assert settings.key_edition == edition
        assert settings.stack_name == STACK
        clock = ManualClock(time.time())
        secrets = SecretsManagerStore(self.aws.secrets_manager)
        rotation = build(
            settings, clock=clock, secrets=secrets, kms_halves=KmsHalves(self.aws.kms, STACK)
        )
        for days in (0, 31, 33, 62, 64, 70):
            clock.now = time.time() + days * DAY
            rotation.run()
            warm = WarmKeyRing(secrets, settings.key_ring_secret, clock)
            signers = RingSigners(
                warm, secrets, settings.signing_keys_secret, kms=lambda: self.aws.kms
            )
            signers.current(clock.now, "RS256").sign({}, None)


def _matches(statement: dict[str, Any], call: Call) -> bool:
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    return (
        any(fnmatchcase(call.action, action) for action in _list(statement["Action"]))
        and any(fnmatchcase(call.resource, arn) for arn in _list(statement["Resource"]))
        and all(call.context.get(name) == value for name, value in conditions.items())
    )


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(params=["secrets-manager", "kms"])
def edition(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def account(edition: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        account = Account(edition)
        account.live_through_a_key(edition)
        yield account


def test_a_function_may_do_all_that_keys_need(account: Account, edition: str) -> None:
    signing = {"kms:Sign"}
    for call in account.calls:
        function = "IssueToken" if call.action in signing else "RotateKeys"
        assert account.allows(function, call), call
    made = {call.action for call in account.calls}
    assert {"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"} <= made
    assert ({"kms:Sign", "kms:ScheduleKeyDeletion", "kms:CreateKey"} <= made) == (edition == "kms")


def test_no_function_may_touch_a_key_of_another_stack(account: Account) -> None:
    for function in ("IssueToken", "IntrospectToken", "RotateKeys"):
        for action in ("Sign", "ScheduleKeyDeletion", "GetPublicKey", "CreateAlias", "DeleteAlias"):
            for tags in ({}, {"aws:ResourceTag/gatehouse:stack": "theirs"}):
                call = Call(f"kms:{action}", account._key_arn("stranger"), tags)
                assert not account.allows(function, call), call
    untagged = Call("kms:CreateKey", "*", {})
    assert not account.allows("RotateKeys", untagged)


def test_only_what_signs_may_sign_and_it_makes_no_keys(account: Account) -> None:
    own = {f"aws:ResourceTag/{name}": value for name, value in OWN_TAG.items()}
    new = {f"aws:RequestTag/{name}": value for name, value in OWN_TAG.items()}
    assert not account.allows("RotateKeys", Call("kms:Sign", account._key_arn("own"), own))
    for function in ("IssueToken", "IntrospectToken"):
        assert account.allows(function, Call("kms:Sign", account._key_arn("own"), own))
        assert not account.allows(function, Call("kms:CreateKey", "*", new))
