"""Pointers from issuers and trust domains to clients, written together with the clients."""

from dataclasses import replace
from typing import Any

import pytest

from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client, to_item
from functions.shared.clients.trust_rule import FederatedClient, federated_clients
from functions.shared.clients.trust_store import DynamoDbTrust
from infra.cli.errors import CommandError, ConflictError
from infra.cli.record_store import ClientTable
from tests.support.cli import LOST, CommandLine, aws_client, physical_name
from tests.support.server import client
from tests.support.spiffe import WORKLOAD, workload_client

GITHUB = "https://token.actions.githubusercontent.com"
DOMAIN = "spiffe://example.org"


def federated(client_id: str, subject: str, issuer: str = GITHUB) -> Client:
    rule = FederationRule(issuer=issuer, audience="gatehouse", subject=subject)
    methods = frozenset({"federated_jwt"})
    return client(client_id, authentication_methods=methods, federation=(rule,), secrets=())


def pointers(table: ClientTable, issuer: str) -> tuple[FederatedClient, ...]:
    found = DynamoDbTrust(table.aws, table.trust_table).find(issuer)
    return found.clients if found else ()


def put_directly(item: dict[str, Any]) -> None:
    """Write a client without its pointers, as earlier versions did."""
    aws_client("dynamodb").put_item(TableName=physical_name("ClientsTable"), Item=item)


@pytest.fixture
def table(gatehouse: CommandLine) -> ClientTable:
    return gatehouse.clients


def test_pointers_follow_the_client(table: ClientTable) -> None:
    table.put(federated("deploy", "repo:example/*"), None)
    assert pointers(table, GITHUB) == tuple(federated_clients(federated("deploy", "repo:example/*")))
    table.change("deploy", lambda _known: federated("deploy", "a", "https://b.example"))
    assert pointers(table, GITHUB) == ()
    assert [each.client_id for each in pointers(table, "https://b.example")] == ["deploy"]
    table.disable("deploy")
    assert [each.client_id for each in pointers(table, "https://b.example")] == ["deploy"]
    table.change("deploy", lambda known: replace(known, authentication_methods=frozenset({"client_secret_basic"})))
    assert pointers(table, "https://b.example") == ()
    table.put(workload_client(), None)
    assert [each.spiffe_id for each in pointers(table, DOMAIN)] == [WORKLOAD]
    table.delete(table.get("worker"))
    assert pointers(table, DOMAIN) == ()
    assert table.find("worker") is None


@pytest.mark.parametrize(
    ("registered", "added"),
    [
        (federated("a", "repo:example/*"), federated("b", "repo:example/deploy")),
        (workload_client(f"{DOMAIN}/a/*", client_id="a"), workload_client(f"{DOMAIN}/a/b", client_id="b")),
        (workload_client(f"{DOMAIN}/a", client_id="a"), workload_client(f"{DOMAIN}/a", client_id="b")),
    ],
    ids=lambda known: known.client_id,
)
def test_ambiguous_clients_are_refused(table: ClientTable, registered: Client, added: Client) -> None:
    table.put(registered, None)
    with pytest.raises(CommandError, match="could authenticate a and b"):
        table.put(added, None)
    assert table.find("b") is None
    table.put(registered, table.get("a"))


def test_distinct_clients_share_an_issuer(table: ClientTable) -> None:
    table.put(federated("a", "repo:example/a"), None)
    table.put(federated("b", "repo:example/b"), None)
    table.put(workload_client(f"{DOMAIN}/a/*", client_id="c"), None)
    table.put(workload_client(f"{DOMAIN}/ab", client_id="d"), None)
    assert [each.client_id for each in pointers(table, GITHUB)] == ["a", "b"]
    assert [each.client_id for each in pointers(table, DOMAIN)] == ["c", "d"]


def test_conflict_leaves_the_pointers(table: ClientTable) -> None:
    table.put(federated("deploy", "a"), None)
    seen = table.get("deploy")
    table.put(federated("deploy", "b"), seen)
    with pytest.raises(ConflictError):
        table.put(federated("deploy", "c", "https://c.example"), seen)
    with pytest.raises(ConflictError):
        table.put(federated("deploy", "c"), None)
    with pytest.raises(ConflictError):
        table.delete(seen)
    assert pointers(table, "https://c.example") == ()
    assert [each.rules[0].subject for each in pointers(table, GITHUB)] == ["b"]


def test_ambiguous_clients_of_earlier_versions_can_be_disabled(table: ClientTable) -> None:
    for client_id in ("a", "b"):
        put_directly(to_item(federated(client_id, "repo:example/*")))
        table.disable(client_id)
    assert [each.client_id for each in pointers(table, GITHUB)] == ["a", "b"]


def test_lost_response_is_not_a_conflict(table: ClientTable) -> None:
    LOST.append("TransactWriteItems")
    table.put(federated("deploy", "a"), None)
    assert LOST == []
    assert [each.client_id for each in pointers(table, GITHUB)] == ["deploy"]


def test_broken_client_is_deleted_with_its_pointers(table: ClientTable) -> None:
    table.put(federated("deploy", "a"), None)
    put_directly(to_item(federated("deploy", "a")) | {"token_lifetime": {"N": "0"}})
    table.delete(table.get("deploy"))
    assert pointers(table, GITHUB) == ()
