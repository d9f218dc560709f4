"""The table of clients as operators use it: listed, and written only over what was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.client_record import Client, from_item, is_client_id, to_item
from functions.shared.runtime.aws_clients import aws_errors
from functions.shared.runtime.records import UnreadableRecordError
from infra.command_line.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

    from infra.command_line.session import Session

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class SeenClient:
    """A client and the item that it was read from."""

    client: Client
    item: Mapping[str, Any] = field(repr=False)


def clients_of(session: Session) -> ClientTable:
    """Return the clients of the deployment that a command is about."""
    table = session.deployment.clients_table  # first, for it may be that none was named
    return ClientTable(session.aws.dynamodb, table)


@dataclass(frozen=True, slots=True)
class ClientTable:
    """Clients in a DynamoDB table keyed by `client_id`.

    A write says what it replaces, attribute by attribute, and DynamoDB refuses it when that is no
    longer what the table holds. So nobody's edit is lost, whoever made it and with what.
    """

    dynamodb: DynamoDBClient
    name: str

    def list(self) -> Iterator[SeenClient]:
        """Yield every client, by id.

        Raises:
            UnreadableRecordError: a client was written by another schema version.
        """
        items: list[Mapping[str, Any]] = []
        with aws_errors():
            for page in self.dynamodb.get_paginator("scan").paginate(
                TableName=self.name, ConsistentRead=True
            ):
                items.extend(page["Items"])
        for item in sorted(items, key=lambda each: str(each["client_id"]["S"])):
            yield _seen(item)

    def find(self, client_id: str) -> SeenClient | None:
        """Return a client as it is now, or None."""
        if not is_client_id(client_id):
            raise UsageError(f"{client_id!r} cannot be a client_id: 1 to 128 visible ASCII marks.")
        with aws_errors():
            answer = self.dynamodb.get_item(
                TableName=self.name, Key={"client_id": {"S": client_id}}, ConsistentRead=True
            )
        item = answer.get("Item")
        return _seen(item) if item else None

    def get(self, client_id: str) -> SeenClient:
        """Return a client as it is now.

        Raises:
            NotFoundError: there is none.
        """
        seen = self.find(client_id)
        if seen is None:
            raise NotFoundError(
                f"There is no client {client_id}.", "See them all: gatehouse clients list."
            )
        return seen

    def put(self, client: Client, seen: SeenClient | None) -> None:
        """Write a client in the place of the one that was seen; None is that there was none.

        Raises:
            ConflictError: it has been changed, deleted or created since.
        """
        item = to_item(client)
        condition = _is_absent() if seen is None else _is_still(seen.item)
        with aws_errors():
            try:
                self.dynamodb.put_item(TableName=self.name, Item=item, **condition)
            except self.dynamodb.exceptions.ConditionalCheckFailedException:
                raise _conflict(client.client_id) from None

    def delete(self, seen: SeenClient) -> None:
        """Delete the client that was seen.

        Raises:
            ConflictError: it has been changed or deleted since.
        """
        client_id = seen.client.client_id
        with aws_errors():
            try:
                self.dynamodb.delete_item(
                    TableName=self.name,
                    Key={"client_id": {"S": client_id}},
                    **_is_still(seen.item),
                )
            except self.dynamodb.exceptions.ConditionalCheckFailedException:
                raise _conflict(client_id) from None

    def change(self, client_id: str, change: Callable[[Client], Client]) -> Client:
        """Change a client as it is now, on top of somebody else's change if need be.

        Raises:
            NotFoundError: there is none.
            ConflictError: others were faster every time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            seen = self.get(client_id)
            changed = change(seen.client)
            if changed == seen.client:
                return changed
            try:
                self.put(changed, seen)
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return changed
        raise AssertionError


def _seen(item: Mapping[str, Any]) -> SeenClient:
    try:
        return SeenClient(from_item(item), item)
    except UnreadableRecordError as error:
        whose = f"client {item['client_id']['S']}: {error.reason}"
        raise UnreadableRecordError(reason=whose) from error


def _is_absent() -> dict[str, Any]:
    return {"ConditionExpression": "attribute_not_exists(client_id)"}


def _is_still(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition that an item has exactly the attributes that were read, or more."""
    names = sorted(item)
    return {
        "ConditionExpression": " AND ".join(f"#a{n} = :a{n}" for n in range(len(names))),
        "ExpressionAttributeNames": {f"#a{n}": name for n, name in enumerate(names)},
        "ExpressionAttributeValues": {f":a{n}": item[name] for n, name in enumerate(names)},
    }


def _conflict(client_id: str) -> ConflictError:
    return ConflictError(f"Somebody else changed client {client_id} meanwhile.")
