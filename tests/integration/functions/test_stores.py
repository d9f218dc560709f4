"""One contract for each store in memory and in AWS."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

import pytest

from authorizer.claims import Confirmation
from authorizer.state_table import revocation_key
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.lifetimes import DAY
from functions.shared.storage.errors import StorageCorruptError
from functions.shared.storage.secrets_manager import SecretConflictError, SecretStore, SecretVersion
from functions.shared.storage.state_table import AlreadyUsedError, Counters, JwtDenyList, OneTimeUse, SecretUses
from functions.shared.tokens.opaque_tokens import ActiveToken, OpaqueTokenStore, generate_token, token_digest
from tests.support.aws import CLIENTS_TABLE, KEY_RING_SECRET, SIGNING_KEYS_SECRET, STATE_TABLE, TOKENS_TABLE, AwsAccount
from tests.support.memory_stores import (
    MemoryClients,
    MemoryCounters,
    MemoryDenyList,
    MemoryOneTimeUse,
    MemorySecrets,
    MemorySecretUses,
    MemoryTokens,
)
from tests.support.server import NOW, client

MEANING = ActiveToken(
    client_id="service",
    subject="service",
    scopes=("country.read", "customer.read"),
    audience=("https://api",),
    issuer="https://issuer",
    issued_at=NOW,
    not_before=NOW,
    expires_at=NOW + 600,
)


class Stores(NamedTuple):
    """The stores of the authorization server."""

    clients: DynamoDbClients | MemoryClients
    tokens: OpaqueTokenStore
    secrets: SecretStore
    denied: JwtDenyList
    used: OneTimeUse
    counters: Counters
    uses: SecretUses


@pytest.fixture(params=["memory", "aws"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return Stores(
            MemoryClients(),
            MemoryTokens(),
            MemorySecrets(),
            MemoryDenyList(),
            MemoryOneTimeUse(),
            MemoryCounters(),
            MemorySecretUses(),
        )
    aws = request.getfixturevalue("aws")
    return Stores(
        DynamoDbClients(aws, CLIENTS_TABLE),
        OpaqueTokenStore(aws, TOKENS_TABLE),
        SecretStore(aws),
        JwtDenyList(aws, STATE_TABLE),
        OneTimeUse(aws, STATE_TABLE),
        Counters(aws, STATE_TABLE),
        SecretUses(aws, STATE_TABLE),
    )


def test_value_is_valid_once_per_kind_and_owner_until_it_expires(stores: Stores) -> None:
    for kind, owner, value in (("jti", "ab", "c"), ("jti", "a", "bc"), ("dpop", "ab", "c")):
        stores.used.consume(kind, owner, value, NOW + 60, NOW)
    with pytest.raises(AlreadyUsedError):
        stores.used.consume("jti", "ab", "c", NOW + 60, NOW + 59)
    stores.used.consume("jti", "ab", "c", NOW + 120, NOW + 60)


def test_concurrent_uses_succeed_once(stores: Stores) -> None:
    def use(_: int) -> bool:
        try:
            stores.used.consume("jti", "service", "a", NOW + 60, NOW)
        except AlreadyUsedError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(use, range(100))) == 1


def test_revoked_token_is_on_the_list_until_it_expires(stores: Stores) -> None:
    for _ in range(2):
        stores.denied.add("revoked#a", NOW + 60)
    assert stores.denied.holds("revoked#a", NOW + 59.9)
    assert not stores.denied.holds("revoked#a", NOW + 60)
    assert not stores.denied.holds("revoked#b", NOW)


def test_deny_list_entrys_format_is_stable(aws: AwsAccount) -> None:
    # Authorizers read it too.
    name = revocation_key("https://issuer", "id", "header.payload.signature")
    assert name == "revoked#" + _digest(b"https://issuer", b"jti", b"id")
    name = revocation_key("https://issuer", None, "header.payload.signature")
    signed = sha256(b"header.payload").hexdigest().encode()
    assert name == "revoked#" + _digest(b"https://issuer", b"signing-input", signed)
    JwtDenyList(aws, STATE_TABLE).add(name, NOW + 60)
    assert _items(aws, STATE_TABLE) == [
        {"schema_version": {"N": "1"}, "entry": {"S": name}, "expires_at": {"N": str(NOW + 60)}}
    ]


def _digest(*parts: bytes) -> str:
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


def test_concurrent_increments_are_distinct(stores: Stores) -> None:
    with ThreadPoolExecutor(16) as threads:
        counted = threads.map(lambda _: stores.counters.increment("a", NOW + 60), range(100))
    assert sorted(counted) == list(range(1, 101))
    assert stores.counters.increment("b", NOW + 60) == 1


def test_last_use_is_the_latest_day(stores: Stores) -> None:
    assert stores.uses.last_used("service", "digest") is None
    for day in (2 * DAY, 3 * DAY, DAY):
        stores.uses.record("service", "digest", day)
    assert stores.uses.last_used("service", "digest") == 3 * DAY
    assert stores.uses.last_used("service", "other digest") is None


def test_client_is_found_by_its_id_and_replaced(stores: Stores) -> None:
    for written in (client("a"), client("a", disabled=True)):
        stores.clients.put(written)
        assert stores.clients.find("a") == written


@pytest.mark.parametrize("client_id", ["A", "", "ä", "\x00", "x" * 5000, "\ud800"])
def test_unknown_client_id_is_not_found(stores: Stores, client_id: str) -> None:
    stores.clients.put(client("a"))
    assert stores.clients.find(client_id) is None


BOUND_AND_EXCHANGED = replace(
    MEANING,
    subject="caller",
    confirmation=Confirmation("jkt", "t" * 43),
    actor={"sub": "service", "act": {"sub": "first"}},
)


@pytest.mark.parametrize("meaning", [MEANING, BOUND_AND_EXCHANGED], ids=["plain", "bound and exchanged"])
def test_token_is_found_until_it_expires_or_is_revoked(stores: Stores, meaning: ActiveToken) -> None:
    token = generate_token()
    stores.tokens.put(token, meaning)
    assert stores.tokens.find(token, NOW) == stores.tokens.find(token, NOW + 599.9) == meaning
    assert stores.tokens.find(token, NOW + 600) is None
    for _ in range(2):
        stores.tokens.revoke(token, meaning)
        assert stores.tokens.find(token, NOW) is None


@pytest.mark.parametrize(
    "token", [generate_token(), "", "ä", "\ud800", "x" * 70_000], ids=lambda token: ascii(token[:6])
)
def test_unknown_token_is_not_found(stores: Stores, token: str) -> None:
    stores.tokens.put(generate_token(), MEANING)
    assert stores.tokens.find(token, NOW) is None


def test_secret_has_no_value_until_one_is_written(stores: Stores) -> None:
    assert stores.secrets.read(KEY_RING_SECRET) is None
    assert stores.secrets.read_version(KEY_RING_SECRET) is None
    for text in ("first", "second"):
        stores.secrets.write(KEY_RING_SECRET, text)
        assert stores.secrets.read(KEY_RING_SECRET) == text
    assert stores.secrets.read(SIGNING_KEYS_SECRET) is None


def test_secret_is_replaced_only_if_unchanged(stores: Stores) -> None:
    versions: list[SecretVersion | None] = [None]
    for text in ("first", "second", "third"):
        stores.secrets.replace(KEY_RING_SECRET, text, versions[-1])
        for outdated in versions:
            with pytest.raises(SecretConflictError):
                stores.secrets.replace(KEY_RING_SECRET, "too late", outdated)
        version = stores.secrets.read_version(KEY_RING_SECRET)
        assert version is not None
        assert version.text == stores.secrets.read(KEY_RING_SECRET) == text
        assert text not in repr(version)
        versions.append(version)


def test_one_of_many_replacements_succeeds(stores: Stores) -> None:
    stores.secrets.replace(KEY_RING_SECRET, "first", None)
    seen = stores.secrets.read_version(KEY_RING_SECRET)

    def replace_with(number: int) -> bool:
        try:
            stores.secrets.replace(KEY_RING_SECRET, f"{number}", seen)
        except SecretConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(replace_with, range(16))) == 1


def test_decisions_use_consistent_reads(aws: AwsAccount) -> None:
    calls: list[dict[str, Any]] = []
    aws.dynamodb.meta.events.register(
        "before-parameter-build.dynamodb.GetItem", lambda params, **_: calls.append(params)
    )
    DynamoDbClients(aws, CLIENTS_TABLE).find("a")
    OpaqueTokenStore(aws, TOKENS_TABLE).find(generate_token(), NOW)
    JwtDenyList(aws, STATE_TABLE).holds("revoked#a", NOW)
    assert [each["TableName"] for each in calls] == [CLIENTS_TABLE, TOKENS_TABLE, STATE_TABLE]
    assert all(each["ConsistentRead"] for each in calls)


def _items(aws: AwsAccount, table: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = aws.dynamodb.scan(TableName=table)["Items"]
    return items


def test_token_item_has_digest_and_ttl(aws: AwsAccount) -> None:
    token = generate_token()
    OpaqueTokenStore(aws, TOKENS_TABLE).put(token, MEANING)
    (item,) = _items(aws, TOKENS_TABLE)
    assert item == {
        "schema_version": {"N": "1"},
        "token_digest": {"S": token_digest(token)},
        "client_id": {"S": "service"},
        "scopes": {"L": [{"S": "country.read"}, {"S": "customer.read"}]},
        "audience": {"L": [{"S": "https://api"}]},
        "issuer": {"S": "https://issuer"},
        "issued_at": {"N": str(NOW)},
        "expires_at": {"N": str(NOW + 600)},
    }
    assert token not in repr(item)


def test_binary_secret_is_an_error(aws: AwsAccount) -> None:
    aws.secrets_manager.put_secret_value(SecretId=KEY_RING_SECRET, SecretBinary=b"\x00")
    with pytest.raises(StorageCorruptError, match="binary"):
        SecretStore(aws).read(KEY_RING_SECRET)


@pytest.mark.parametrize("change", [{"schema_version": {"N": "2"}}, {"scopes": {"S": "a b"}}])
def test_unreadable_client_record_is_named(aws: AwsAccount, change: dict[str, Any]) -> None:
    store = DynamoDbClients(aws, CLIENTS_TABLE)
    store.put(client("a"))
    (item,) = _items(aws, CLIENTS_TABLE)
    aws.dynamodb.put_item(TableName=CLIENTS_TABLE, Item=item | change)
    with pytest.raises(StorageCorruptError, match=r"client a: a .*record"):
        store.find("a")


@pytest.mark.parametrize(
    "change", [{"schema_version": {"N": "2"}}, {"expires_at": {"S": "x"}}, {"expires_at": {"NULL": True}}]
)
def test_unreadable_deny_list_entry_counts_as_revoked(aws: AwsAccount, change: dict[str, Any]) -> None:
    store = JwtDenyList(aws, STATE_TABLE)
    store.add("revoked#a", NOW + 60)
    (item,) = _items(aws, STATE_TABLE)
    aws.dynamodb.put_item(TableName=STATE_TABLE, Item=item | change)
    assert store.holds("revoked#a", NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": {"N": "2"}},
        {"client_id": {"N": "1"}},
        {"scopes": {"N": "1"}},
        {"scopes": {"S": "country.read"}},
        {"audience": {"L": [{"N": "1"}]}},
        {"expires_at": {"S": "x"}},
        {"expires_at": {"N": "1700000000.5"}},
        {"subject": {"NULL": True}},
        {"confirmation": {"NULL": True}},
        {"confirmation": {"M": {}}},
        {"confirmation": {"L": []}},
        {"actor": {"NULL": True}},
        {"actor": {"M": {"sub": {"S": "a"}, "act": {"S": "b"}}}},
        {"actor": {"M": {"act": {"M": {"sub": {"S": "a"}}}}}},
    ],
    ids=str,
)
def test_unreadable_token_record_is_an_error(aws: AwsAccount, change: dict[str, Any]) -> None:
    token = generate_token()
    store = OpaqueTokenStore(aws, TOKENS_TABLE)
    store.put(token, MEANING)
    (item,) = _items(aws, TOKENS_TABLE)
    aws.dynamodb.put_item(TableName=TOKENS_TABLE, Item=item | change)
    with pytest.raises(StorageCorruptError):
        store.find(token, NOW)
