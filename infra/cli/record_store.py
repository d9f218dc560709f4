"""The clients table and the trust table: reads, and writes on condition that a record is unchanged.

A client that authenticates by tokens of another issuer has pointers in the trust table. They are
written together with it. Requests without a `client_id` are resolved by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from authorizer.aws import Aws
from authorizer.state_table import CONDITION_FAILED
from functions.shared.clients import client, trust_rule
from functions.shared.clients.client import Client, is_client_id
from functions.shared.clients.client_registry import FRESH_SECONDS, STALE_SECONDS
from functions.shared.clients.trust_rule import RULE_PREFIX, FederatedClient, TrustRule, federated_clients
from functions.shared.clients.trust_store import DynamoDbTrust
from functions.shared.storage.aws_calls import call
from functions.shared.storage.errors import StorageCorruptError, StorageError

from .context import CommandContext
from .errors import CommandError, ConflictError, ExitCode, NotFoundError, UsageError

R = TypeVar("R", Client, TrustRule)

_ATTEMPTS = 5
_LONGEST_KEY = 2048
"""Bytes, DynamoDB's limit for a key."""

SEEN_WITHIN = f"within {FRESH_SECONDS} seconds, or {STALE_SECONDS} seconds while DynamoDB is unavailable"
"""When the functions see a change of a client or a rule, for messages."""

_TRUST_KEY = ("issuer", "entry")


@dataclass(frozen=True, slots=True)
class Seen(Generic[R]):
    """An item of a table, and its record or the reason why it cannot be read.

    `noun` is the kind of record, and `key` is its client_id or the name of the rule.
    """

    noun: str
    key: str
    item: Mapping[str, Any] = field(repr=False)
    readable: R | None
    fault: str = ""

    @property
    def record(self) -> R:
        """The record; raises CommandError if it cannot be read."""
        return refuse_broken([self])[0]


def _seen(noun: str, key: str, item: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], R]) -> Seen[R]:
    try:
        return Seen(noun, key, item, parse(item))
    except StorageCorruptError as error:
        return Seen(noun, key, item, None, error.reason)


def _client(item: Mapping[str, Any]) -> Seen[Client]:
    return _seen("client", item["client_id"]["S"], item, client.from_item)


def _rule(item: Mapping[str, Any]) -> Seen[TrustRule]:
    return _seen("rule", item["entry"]["S"].removeprefix(RULE_PREFIX), item, rule_from_item)


def rule_from_item(item: Mapping[str, Any]) -> TrustRule:
    """Read the item of a rule; raises StorageCorruptError."""
    entry = trust_rule.from_item(item)
    if not isinstance(entry, TrustRule):
        raise StorageCorruptError(reason="the rules contain a client")
    return entry


_DELETE = {"client": "gatehouse clients delete", "rule": "gatehouse rules remove"}


def refuse_broken(records: Sequence[Seen[R]]) -> list[R]:
    """Return the records if all can be read; raises CommandError with each that cannot."""
    broken = [seen for seen in records if seen.fault]
    if not broken:
        return [seen.readable for seen in records if seen.readable]
    first, *others = broken
    more = "".join(f"; also that of {seen.key}: {seen.fault}" for seen in others)
    raise CommandError(
        f"The record of {first.noun} {first.key} cannot be read: {first.fault}{more}.",
        "If a newer version wrote it, use the command line of that version. Otherwise delete it "
        f"with '{_DELETE[first.noun]} {first.key}' and register the {first.noun} again.",
        ExitCode.FAILURE,
    )


class Table(Protocol[R]):
    """The clients or the rules of a deployment.

    A write is conditional on each attribute that was read, so a concurrent change is never lost.
    """

    def put(self, record: R, seen: Seen[R] | None) -> None:
        """Replace the record that was read, None creates one; raises ConflictError if it has changed."""

    def delete(self, seen: Seen[R]) -> None:
        """Delete the record that was read, if it still exists; raises ConflictError if it has changed."""


@dataclass(frozen=True, slots=True)
class ClientTable:
    """Clients in a DynamoDB table keyed by `client_id`.

    Records that cannot be read can be listed, disabled and deleted.
    """

    aws: Aws
    name: str
    trust_table: str

    @classmethod
    def of(cls, context: CommandContext) -> Self:
        """Return the clients table of the deployment."""
        table, trust_table = map(context.deployment.resource, ("ClientsTable", "TrustTable"))  # first: may raise
        return cls(context.aws, table, trust_table)

    def list(self) -> list[Seen[Client]]:
        """Return every client by id, including records that cannot be read."""
        return sorted(map(_client, scan(self.aws, self.name)), key=lambda seen: seen.key)

    def find(self, client_id: str) -> Seen[Client] | None:
        """Return the current client, or None."""
        # Read first: a record that was edited manually may have another kind of key.
        item = None
        if 0 < len(client_id.encode(errors="replace")) <= _LONGEST_KEY:
            key = {"client_id": {"S": client_id}}
            response = call(self.aws, "dynamodb", "GetItem", TableName=self.name, Key=key, ConsistentRead=True)
            item = response.get("Item")
        if item is None and not is_client_id(client_id):
            raise UsageError(f"{client_id!r} is not a client_id: 1 to 128 visible ASCII characters.")
        return _client(item) if item else None

    def get(self, client_id: str) -> Seen[Client]:
        """Return the current client; raises NotFoundError."""
        seen = self.find(client_id)
        if seen is None:
            raise NotFoundError(f"Client {client_id} does not exist.", "List the clients: gatehouse clients list.")
        return seen

    def put(self, record: Client, seen: Seen[Client] | None) -> None:
        """Replace the client that was read, as `Table.put` does.

        Raises:
            CommandError: a token could authenticate this client and another one.
        """
        pointers = federated_clients(record)
        registered = _pointers_of(seen)
        # Clients of earlier versions may be ambiguous. Disabling one is never refused.
        self._refuse_ambiguity([pointer for pointer in pointers if pointer not in registered])
        self._write(record.client_id, client.to_item(record), seen, registered, pointers)

    def delete(self, seen: Seen[Client]) -> None:
        """Delete the client that was read, as `Table.delete` does."""
        self._write(seen.key, None, seen, _pointers_of(seen), ())

    def disable(self, client_id: str) -> Seen[Client]:
        """Disable a client, also if its record cannot be read; return the previous record.

        Raises:
            NotFoundError: it does not exist.
            ConflictError: another process has changed it.
        """
        seen = self.get(client_id)
        if seen.fault:
            self._write(client_id, {**seen.item, "disabled": {"BOOL": True}}, seen, (), ())
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
            changed = change(seen.record)
            if changed == seen.record:
                return changed
            with suppress(ConflictError):
                self.put(changed, seen)
                return changed
        raise _conflict("client", client_id)

    def _write(
        self,
        client_id: str,
        item: Mapping[str, Any] | None,
        seen: Seen[Client] | None,
        obsolete: Iterable[FederatedClient],
        pointers: Iterable[FederatedClient],
    ) -> None:
        """Write a client (None: delete it), and in the same transaction its pointers, if it has any."""
        operation, parameters = _conditional(self.name, ("client_id",), item, seen)
        current = [trust_rule.to_item(each) for each in pointers]
        keys = [_key(each, _TRUST_KEY) for each in current]
        removed = [key for each in obsolete if (key := _key(trust_rule.to_item(each), _TRUST_KEY)) not in keys]
        if not (current or removed):
            written = _write_if_unchanged(self.aws, operation, parameters, item)
        else:
            writes: list[dict[str, Any]] = [{operation: parameters}]
            writes += [{"Put": {"TableName": self.trust_table, "Item": each}} for each in current]
            writes += [{"Delete": {"TableName": self.trust_table, "Key": each}} for each in removed]
            written = _transact(self.aws, writes) or self._has(client_id, item)
        if not written:
            raise _conflict("client", client_id)

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


@dataclass(frozen=True, slots=True)
class RuleTable:
    """Trust rules in a DynamoDB table keyed by `issuer` and `entry`."""

    aws: Aws
    name: str

    @classmethod
    def of(cls, context: CommandContext) -> Self:
        """Return the trust table of the deployment."""
        table = context.deployment.resource("TrustTable")  # first: it may raise
        return cls(context.aws, table)

    def list(self) -> list[Seen[TrustRule]]:
        """Return every rule by name, including records that cannot be read."""
        items = (item for item in scan(self.aws, self.name) if item["entry"]["S"].startswith(RULE_PREFIX))
        return sorted(map(_rule, items), key=lambda seen: (seen.key, seen.item["issuer"]["S"]))

    def get(self, name: str) -> Seen[TrustRule]:
        """Return the rule of this name; raises NotFoundError."""
        found = next((seen for seen in self.list() if seen.key == name), None)
        if found is None:
            raise NotFoundError(f"Rule {name} does not exist.", "List the rules: gatehouse rules list.")
        return found

    def put(self, record: TrustRule, seen: Seen[TrustRule] | None) -> None:
        """Replace the rule that was read, as `Table.put` does, also if it has another issuer."""
        moved = seen if seen and seen.item["issuer"]["S"] != record.issuer else None
        self._write(record.name, trust_rule.to_item(record), None if moved else seen)
        if moved:
            self.delete(moved)

    def delete(self, seen: Seen[TrustRule]) -> None:
        """Delete the rule that was read, as `Table.delete` does."""
        self._write(seen.key, None, seen)

    def _write(self, name: str, item: Mapping[str, Any] | None, seen: Seen[TrustRule] | None) -> None:
        if not _write_if_unchanged(self.aws, *_conditional(self.name, _TRUST_KEY, item, seen), item):
            raise _conflict("rule", name)


def _conditional(
    table: str, key: Sequence[str], item: Mapping[str, Any] | None, seen: Seen[R] | None
) -> tuple[str, dict[str, Any]]:
    """Return the operation that puts an item (None: deletes it) if the table has what was read, and its parameters."""
    condition: dict[str, Any] = {"ConditionExpression": f"attribute_not_exists({key[0]})"}
    if seen:
        names = sorted(seen.item)
        condition = {
            "ConditionExpression": " AND ".join(f"#a{n} = :a{n}" for n in range(len(names))),
            "ExpressionAttributeNames": {f"#a{n}": name for n, name in enumerate(names)},
            "ExpressionAttributeValues": {f":a{n}": seen.item[name] for n, name in enumerate(names)},
        }
    if item is not None:
        return "Put", {"TableName": table, "Item": item, **condition}
    assert seen is not None
    return "Delete", {"TableName": table, "Key": _key(seen.item, key), **condition}


def _write_if_unchanged(
    aws: Aws, operation: str, parameters: Mapping[str, Any], wanted: Mapping[str, Any] | None
) -> bool:
    """Write on a condition; return whether the table has the `wanted` item, or none.

    boto3 retries when a response is lost. The condition then fails because of the first attempt, which is not a
    conflict.
    """
    try:
        call(aws, "dynamodb", f"{operation}Item", ReturnValuesOnConditionCheckFailure="ALL_OLD", **parameters)
    except StorageError as error:
        if error.code != CONDITION_FAILED or error.failure is None:
            raise
        return error.failure.item == wanted
    return True


def _transact(aws: Aws, writes: list[dict[str, Any]]) -> bool:
    """Make all writes or none; return whether all conditions were met. boto3 makes retries idempotent."""
    try:
        call(aws, "dynamodb", "TransactWriteItems", TransactItems=writes)
    except StorageError as error:
        if error.code != "TransactionCanceledException":
            raise
        return False
    return True


def _pointers_of(seen: Seen[Client] | None) -> list[FederatedClient]:
    """Return the pointers of a registered client; of one that cannot be read, those that it may have."""
    if seen is None:
        return []
    if seen.readable:
        return federated_clients(seen.readable)
    try:
        issuers = {rule["M"]["issuer"]["S"] for rule in seen.item["federation"]["L"]}
    except (KeyError, TypeError):
        return []
    return [FederatedClient(issuer, seen.key) for issuer in issuers]


def _key(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: item[name] for name in names}


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


def _conflict(noun: str, key: str) -> ConflictError:
    return ConflictError(f"Another process changed {noun} {key} at the same time.")
