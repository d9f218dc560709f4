"""The clients table: reads, and writes on condition that the record is unchanged.

A client that authenticates by tokens of another issuer has pointers in the trust table. They are
written together with it. Requests without a `client_id` are resolved by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from authorizer.aws import Aws
from authorizer.state_table import CONDITION_FAILED
from functions.shared.clients import trust_rule
from functions.shared.clients.client import Client, from_item, is_client_id, to_item
from functions.shared.clients.trust_rule import FederatedClient, federated_clients
from functions.shared.clients.trust_store import DynamoDbTrust
from functions.shared.storage.aws_calls import call
from functions.shared.storage.errors import StorageCorruptError, StorageError

from .context import CommandContext
from .errors import CommandError, ConflictError, ExitCode, NotFoundError, UsageError

_ATTEMPTS = 5
_LONGEST_KEY = 2048
"""Bytes, DynamoDB's limit for a key."""


class BrokenClientError(CommandError):
    """Raised for a client whose record cannot be read."""

    def __init__(self, client_id: str, fault: str) -> None:
        super().__init__(
            f"The record of client {client_id} cannot be read: {fault}.",
            "If a newer version wrote it, use the command line of that version. Else delete it "
            f"with 'gatehouse clients delete {client_id}' and register the client again.",
            ExitCode.FAILURE,
        )


@dataclass(frozen=True, slots=True)
class SeenClient:
    """An item of the table, and its client or the reason why it cannot be read."""

    item: Mapping[str, Any] = field(repr=False)
    readable: Client | None
    fault: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> SeenClient:
        """Parse an item."""
        try:
            return cls(item, from_item(item))
        except StorageCorruptError as error:
            return cls(item, None, error.reason)

    @property
    def client_id(self) -> str:
        """The table's key."""
        return str(self.item["client_id"]["S"])

    @property
    def client(self) -> Client:
        """The client; raises BrokenClientError."""
        if self.readable is None:
            raise BrokenClientError(self.client_id, self.fault)
        return self.readable


def refuse_broken(clients: Iterable[SeenClient]) -> None:
    """Return if all records can be read; raises BrokenClientError with each that cannot."""
    broken = [seen for seen in clients if seen.fault]
    if broken:
        first, *others = broken
        more = "".join(f"; also that of {seen.client_id}: {seen.fault}" for seen in others)
        raise BrokenClientError(first.client_id, first.fault + more)


def clients_of(context: CommandContext) -> ClientTable:
    """Return the clients table of the deployment."""
    deployment = context.deployment
    table, trust_table = deployment.resource("ClientsTable"), deployment.resource("TrustTable")  # first: may raise
    return ClientTable(context.aws, table, trust_table)


@dataclass(frozen=True, slots=True)
class ClientTable:
    """Clients in a DynamoDB table keyed by `client_id`.

    A write is conditional on each attribute that was read, so a concurrent change is never lost.
    Records that cannot be read can be listed, disabled and deleted.
    """

    aws: Aws
    name: str
    trust_table: str

    def list(self) -> Iterator[SeenClient]:
        """Yield every client by id, including records that cannot be read."""
        yield from sorted(map(SeenClient.of, scan(self.aws, self.name)), key=lambda seen: seen.client_id)

    def find(self, client_id: str) -> SeenClient | None:
        """Return the current client, or None."""
        # Read first: a record that was edited manually may have another kind of key.
        item = None
        if 0 < len(client_id.encode(errors="replace")) <= _LONGEST_KEY:
            key = {"client_id": {"S": client_id}}
            response = call(self.aws, "dynamodb", "GetItem", TableName=self.name, Key=key, ConsistentRead=True)
            item = response.get("Item")
        if item is None and not is_client_id(client_id):
            raise UsageError(f"{client_id!r} is not a client_id: 1 to 128 visible ASCII characters.")
        return SeenClient.of(item) if item else None

    def get(self, client_id: str) -> SeenClient:
        """Return the current client; raises NotFoundError."""
        seen = self.find(client_id)
        if seen is None:
            raise NotFoundError(f"Client {client_id} does not exist.", "List the clients: gatehouse clients list.")
        return seen

    def put(self, client: Client, seen: SeenClient | None) -> None:
        """Replace the client that was read; None creates one.

        Raises:
            CommandError: a token could authenticate this client and another one.
            ConflictError: another process has changed, deleted or created it.
        """
        pointers = federated_clients(client)
        registered = _pointers_of(seen) if seen else []
        # Clients of earlier versions may be ambiguous. Disabling one is never refused.
        self._refuse_ambiguity([pointer for pointer in pointers if pointer not in registered])
        self._replace(to_item(client), seen, pointers)

    def delete(self, seen: SeenClient) -> None:
        """Delete the client that was read; a deleted client is not an error.

        Raises:
            ConflictError: another process has changed it.
        """
        write = {"Key": {"client_id": seen.item["client_id"]}, **is_still(seen.item)}
        self._write("Delete", None, write, seen.client_id, _pointers_of(seen), [])

    def disable(self, client_id: str) -> SeenClient:
        """Disable a client, also if its record cannot be read; return the previous record.

        Raises:
            NotFoundError: it does not exist.
            ConflictError: another process has changed it.
        """
        seen = self.get(client_id)
        if seen.fault:
            self._replace({**seen.item, "disabled": {"BOOL": True}}, seen)
        else:
            self.change(client_id, lambda client: replace(client, disabled=True))
        return seen

    def change(self, client_id: str, change: Callable[[Client], Client]) -> Client:
        """Change the current client, repeated on top of concurrent changes.

        Raises:
            NotFoundError: it does not exist.
            ConflictError: other processes changed it each time.
        """
        for _ in range(_ATTEMPTS):
            seen = self.get(client_id)
            changed = change(seen.client)
            if changed == seen.client:
                return changed
            with suppress(ConflictError):
                self.put(changed, seen)
                return changed
        raise _conflict(client_id)

    def _replace(
        self, item: Mapping[str, Any], seen: SeenClient | None, pointers: Sequence[FederatedClient] | None = None
    ) -> None:
        """Write an item with its pointers; None leaves the pointers of the client that was read."""
        condition = is_still(seen.item) if seen else {"ConditionExpression": "attribute_not_exists(client_id)"}
        client_id = str(item["client_id"]["S"])
        obsolete = _pointers_of(seen) if seen and pointers is not None else []
        self._write("Put", item, {"Item": item, **condition}, client_id, obsolete, pointers or ())

    def _write(
        self,
        operation: str,
        item: Mapping[str, Any] | None,
        parameters: dict[str, Any],
        client_id: str,
        obsolete: Sequence[FederatedClient],
        pointers: Sequence[FederatedClient],
    ) -> None:
        """Write a client, and in the same transaction its pointers, if it has any."""
        current = [trust_rule.to_item(each) for each in pointers]
        removed = [_key(each) for each in map(trust_rule.to_item, obsolete) if _key(each) not in map(_key, current)]
        if not (current or removed):
            written = write_if_unchanged(self.aws, self.name, f"{operation}Item", item, **parameters)
        else:
            writes: list[dict[str, Any]] = [{operation: {"TableName": self.name, **parameters}}]
            writes += [{"Put": {"TableName": self.trust_table, "Item": each}} for each in current]
            writes += [{"Delete": {"TableName": self.trust_table, "Key": each}} for each in removed]
            written = _transact(self.aws, writes) or self._has(client_id, item)
        if not written:
            raise _conflict(client_id)

    def _has(self, client_id: str, wanted: Mapping[str, Any] | None) -> bool:
        """Return whether the table has the `wanted` item, or none: an earlier attempt of a write may have succeeded."""
        seen = self.find(client_id)
        return (seen and seen.item) == wanted

    def _refuse_ambiguity(self, pointers: Iterable[FederatedClient]) -> None:
        for pointer in pointers:
            known = DynamoDbTrust(self.aws, self.trust_table).find(pointer.issuer)
            for other in known.clients if known else ():
                if other.client_id != pointer.client_id and other.overlaps(pointer):
                    raise CommandError(
                        f"A token of {pointer.issuer} could authenticate {other.client_id} and {pointer.client_id}.",
                        "Let their rules differ in the subject or a claim, or use one client.",
                    )


def write_if_unchanged(
    aws: Aws, table: str, operation: str, wanted: Mapping[str, Any] | None, **parameters: object
) -> bool:
    """Write on a condition; return whether the table has the `wanted` item, or none.

    boto3 retries when a response is lost. The condition then fails because of the first attempt, which is not a
    conflict.
    """
    try:
        call(aws, "dynamodb", operation, TableName=table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **parameters)
    except StorageError as error:
        if error.code != CONDITION_FAILED or error.failure is None:
            raise
        return error.failure.item == wanted
    return True


def _pointers_of(seen: SeenClient) -> list[FederatedClient]:
    """Return the pointers of a registered client; of one that cannot be read, those that it may have."""
    if seen.readable:
        return federated_clients(seen.readable)
    try:
        issuers = {rule["M"]["issuer"]["S"] for rule in seen.item["federation"]["L"]}
    except (KeyError, TypeError):
        return []
    return [FederatedClient(issuer, seen.client_id) for issuer in issuers]


def _key(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("issuer", "entry")}


def _transact(aws: Aws, writes: list[dict[str, Any]]) -> bool:
    """Make all writes or none; return whether all conditions were met. boto3 makes retries idempotent."""
    try:
        call(aws, "dynamodb", "TransactWriteItems", TransactItems=writes)
    except StorageError as error:
        if error.code != "TransactionCanceledException":
            raise
        return False
    return True


def scan(aws: Aws, table: str) -> list[Mapping[str, Any]]:
    """Return all items of a table."""
    items: list[Mapping[str, Any]] = []
    start: dict[str, object] = {}
    while True:
        page = call(aws, "dynamodb", "Scan", TableName=table, ConsistentRead=True, **start)
        items.extend(page["Items"])
        if "LastEvaluatedKey" not in page:
            return items
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def is_still(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition that an item still has the attributes that were read."""
    names = sorted(item)
    return {
        "ConditionExpression": " AND ".join(f"#a{n} = :a{n}" for n in range(len(names))),
        "ExpressionAttributeNames": {f"#a{n}": name for n, name in enumerate(names)},
        "ExpressionAttributeValues": {f":a{n}": item[name] for n, name in enumerate(names)},
    }


def _conflict(client_id: str) -> ConflictError:
    return ConflictError(f"Another process changed client {client_id} at the same time.")
