"""Revoked tokens: lookups in the table of the authorization server."""

from collections.abc import Callable

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from authorizer.aws import AwsError, AwsUnavailableError
from authorizer.aws_client import AwsClient
from authorizer.cache import Lifetime
from authorizer.clock import Clocks, Deadline
from authorizer.errors import InvalidTokenError, Reason, StateUnavailableError
from authorizer.state_table import DenyList, StateTable, revocation_key, state_key
from functions.shared.storage.state_table import JwtDenyList
from tests.support import authorizer_sandbox
from tests.support.aws import STATE_TABLE
from tests.support.clock import ManualClock
from tests.support.tokens import CLIENT, ISSUER, NOW, forge_claims, mint, rest_event

TOKEN = "head.body.signature"


class Revoked(StateTable):
    """A deny list that counts its lookups."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.down = False
        self.reads = 0
        self.while_asked: Callable[[str], object] = lambda _name: None

    def is_revoked(self, name: str, now: float, deadline: Deadline) -> bool:
        self.reads += 1
        self.while_asked(name)
        if self.down:
            raise AwsUnavailableError("ThrottlingException")
        return name in self.names


class Sandbox:
    """A deny list with its table and its clock."""

    def __init__(self, table: StateTable | None = None) -> None:
        self.clock = ManualClock()
        self.revoked = Revoked()
        self.deny_list = DenyList(
            table or self.revoked,
            Clocks(self.clock, self.clock),
            lifetime=Lifetime(fresh_for=60, stale_for=300),
            capacity=16,
            jitter=lambda: 0,
        )

    def check(self, jti: str | None = "one", token: str = TOKEN) -> None:
        self.deny_list.check(token, ISSUER, jti, self.clock.now, Deadline(1, self.clock))

    def is_revoked(self, jti: str | None = "one") -> bool:
        try:
            self.check(jti)
        except InvalidTokenError as refused:
            return refused.reason is Reason.TOKEN_REVOKED
        return False

    def revoke(self, jti: str | None = "one") -> None:
        self.revoked.names.add(revocation_key(ISSUER, jti, TOKEN))


def test_token_is_looked_up_once_a_minute() -> None:
    sandbox = Sandbox()
    for _ in range(100):
        sandbox.check()
    assert sandbox.revoked.reads == 1
    sandbox.clock.advance(59.9)
    sandbox.check()
    assert sandbox.revoked.reads == 1
    sandbox.clock.advance(0.1)
    sandbox.check()
    assert sandbox.revoked.reads == 2


def test_revoked_token_is_not_looked_up_again() -> None:
    sandbox = Sandbox()
    sandbox.revoke()
    for _ in range(10):
        sandbox.clock.advance(100)
        assert sandbox.is_revoked()
    assert sandbox.revoked.reads == 1


def test_each_token_has_its_own_entry() -> None:
    sandbox = Sandbox()
    sandbox.revoke("one")
    sandbox.revoke(None)
    assert not sandbox.is_revoked("two")
    assert sandbox.is_revoked("one")
    assert sandbox.is_revoked(None)
    sandbox.check(None, token="head.other.signature")


def test_stale_entries_serve_an_outage() -> None:
    sandbox = Sandbox()
    sandbox.check()
    sandbox.revoked.down = True
    sandbox.clock.advance(60)
    sandbox.check()
    sandbox.clock.advance(239.9)
    sandbox.check()
    sandbox.clock.advance(0.1)
    with pytest.raises(StateUnavailableError):
        sandbox.check()


def test_entries_match_the_authorization_server(dynamodb: DynamoDBClient) -> None:
    theirs = JwtDenyList(AwsClient(3), STATE_TABLE)
    ours = StateTable(STATE_TABLE, AwsClient(3))
    name = revocation_key(ISSUER, "one", TOKEN)
    assert not ours.is_revoked(name, NOW, Deadline(3))
    theirs.add(name, NOW + 10)
    for now in (NOW, NOW + 9.9, NOW + 10):
        assert ours.is_revoked(name, now, Deadline(3)) == theirs.holds(name, now)
    assert not ours.is_revoked(name, NOW + 10, Deadline(3))


def test_entry_without_expiry_is_valid(dynamodb: DynamoDBClient) -> None:
    dynamodb.put_item(TableName=STATE_TABLE, Item={"entry": {"S": "revoked#0"}})
    assert StateTable(STATE_TABLE, AwsClient(3)).is_revoked("revoked#0", NOW, Deadline(3))


@pytest.mark.usefixtures("dynamodb")
def test_missing_table_is_an_internal_error() -> None:
    with pytest.raises(AwsError, match="ResourceNotFoundException"):
        StateTable("missing", AwsClient(3)).is_revoked("revoked#0", NOW, Deadline(3))


@pytest.mark.usefixtures("no_aws")
def test_unreadable_response_accepts_no_token() -> None:
    sandbox = Sandbox(table=StateTable(STATE_TABLE, AwsClient(3)))
    with pytest.raises(StateUnavailableError, match=f"^{Reason.DENY_LIST_UNAVAILABLE}$"):
        sandbox.check()


@pytest.mark.parametrize("jti", ["one-of-a-kind", None])
def test_revoked_token_is_unauthorized(dynamodb: DynamoDBClient, jti: str | None) -> None:
    sandbox = authorizer_sandbox.Sandbox(DENY_LIST_TABLE=STATE_TABLE)
    token = forge_claims(jti=jti) if jti else mint()
    assert sandbox.decide(rest_event(token))["principalId"] == CLIENT
    JwtDenyList(AwsClient(3), STATE_TABLE).add(revocation_key(ISSUER, jti, token), NOW + 14_400)
    assert sandbox.decide(rest_event(token))
    sandbox.clock.advance(60)
    assert sandbox.refusal(rest_event(token)) == "token_revoked"


def test_entries_of_tokens_are_unambiguous() -> None:
    by_jti = [revocation_key(issuer, jti, TOKEN) for issuer in (ISSUER, "https://b") for jti in ("1", "2", "\ud800")]
    by_text = [revocation_key(ISSUER, None, token) for token in (TOKEN, "head.other.signature")]
    assert len({*by_jti, *by_text}) == 8
    assert revocation_key(ISSUER, "1", "another.text.here") == by_jti[0]
    assert revocation_key(ISSUER, None, "head.body.other") == by_text[0]
    assert state_key("kind", "a", "bc") != state_key("kind", "ab", "c")
