"""The table of clients as operators use it: listed, and written only over what was read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from functions.shared.clients.client_record import Client, from_item, is_client_id, to_item
from functions.shared.storage.aws_errors import storage_errors
from functions.shared.storage.errors import StorageCorruptError
from infra.cli.errors import (
    CommandError,
    ConflictError,
    ExitCode,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from botocore.exceptions import ClientError
    from mypy_boto3_dynamodb import DynamoDBClient

    from infra.cli.context import Session


_ATTEMPTS: Final = 5
_LONGEST_KEY: Final = 2048
"""Bytes that DynamoDB takes as a key."""


class BrokenClientError(CommandError):
    """Raised where a client is needed whose record cannot be read."""

    def __init__(self, client_id: str, fault: str) -> None:
        super().__init__(
            f"The record of client {client_id} cannot be read: {fault}.",
            f"If a newer Gatehouse wrote it, use the command line of that version; else take it "
            f"away with 'gatehouse clients delete {client_id}' and register the client anew.",
            ExitCode.TROUBLE,
        )


@dataclass(frozen=True, slots=True)
class SeenClient:
    """An item as it was read, and the client that it is, or why it cannot be read as one."""

    item: Mapping[str, Any] = field(repr=False)
    readable: Client | None
    fault: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> SeenClient:
        """Read an item, as far as that is possible."""
        try:
            return cls(item, from_item(item))
        except StorageCorruptError as error:
            return cls(item, None, error.reason)

    @property
    def client_id(self) -> str:
        """Whose it is: the table's key, which every item has."""
        return str(self.item["client_id"]["S"])

    @property
    def client(self) -> Client:
        """The client; raises BrokenClientError."""
        if self.readable is None:
            raise BrokenClientError(self.client_id, self.fault)
        return self.readable


def refuse_broken(clients: Iterable[SeenClient]) -> None:
    """Return if all of them can be read; raises BrokenClientError, naming each that cannot."""
    broken = [seen for seen in clients if seen.fault]
    if broken:
        first, *others = broken
        more = "".join(f"; nor that of {seen.client_id}: {seen.fault}" for seen in others)
        raise BrokenClientError(first.client_id, first.fault + more)


def clients_of(session: Session) -> ClientTable:
    """Return the clients of the deployment that a command is about."""
    table = session.deployment.clients_table  # first, for it may be that none was named
    return ClientTable(session.aws.dynamodb, table)


@dataclass(frozen=True, slots=True)
class ClientTable:
    """Clients in a DynamoDB table keyed by `client_id`.

    A write says what it replaces, attribute by attribute, and DynamoDB refuses it when that is no
    longer what the table holds. So nobody's edit is lost, whoever made it and with what. Records
    that cannot be read are listed, disabled and deleted like others.
    """

    dynamodb: DynamoDBClient
    name: str

    def list(self) -> Iterator[SeenClient]:
        """Yield every client, by id, also those whose records cannot be read."""
        items: list[Mapping[str, Any]] = []
        with storage_errors():
            for page in self.dynamodb.get_paginator("scan").paginate(
                TableName=self.name, ConsistentRead=True
            ):
                items.extend(page["Items"])
        yield from sorted(map(SeenClient.of, items), key=lambda seen: seen.client_id)

    def find(self, client_id: str) -> SeenClient | None:
        """Return a client as it is now, or None."""
        # Asked first: the key of a record that was written by hand may be no client_id.
        item = self._item(client_id)
        if item is None and not is_client_id(client_id):
            raise UsageError(f"{client_id!r} cannot be a client_id: 1 to 128 visible ASCII marks.")
        return SeenClient.of(item) if item else None

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
        self._replace(to_item(client), seen)

    def delete(self, seen: SeenClient) -> None:
        """Delete the client that was seen; that it is gone already is as well.

        Raises:
            ConflictError: it has been changed since.
        """
        with storage_errors():
            try:
                self.dynamodb.delete_item(
                    TableName=self.name,
                    Key={"client_id": seen.item["client_id"]},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **_is_still(seen.item),
                )
            except self.dynamodb.exceptions.ConditionalCheckFailedException as error:
                if _kept(error) is not None:
                    raise _conflict(seen.client_id) from None

    def disable(self, client_id: str) -> SeenClient:
        """Refuse a client from now on, also one whose record cannot be read; return what was there.

        Raises:
            NotFoundError: there is none.
            ConflictError: others were faster.
        """
        seen = self.get(client_id)
        if seen.fault:
            self._replace({**seen.item, "disabled": {"BOOL": True}}, seen)
        else:
            self.change(client_id, lambda client: replace(client, disabled=True))
        return seen

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

    def _item(self, client_id: str) -> Mapping[str, Any] | None:
        if not 0 < len(client_id.encode(errors="replace")) <= _LONGEST_KEY:
            return None
        with storage_errors():
            answer = self.dynamodb.get_item(
                TableName=self.name, Key={"client_id": {"S": client_id}}, ConsistentRead=True
            )
        return answer.get("Item")

    def _replace(self, item: Mapping[str, Any], seen: SeenClient | None) -> None:
        condition = _is_absent() if seen is None else _is_still(seen.item)
        with storage_errors():
            try:
                self.dynamodb.put_item(
                    TableName=self.name,
                    Item=item,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **condition,
                )
            except self.dynamodb.exceptions.ConditionalCheckFailedException as error:
                if _kept(error) != item:
                    raise _conflict(str(item["client_id"]["S"])) from None


def _kept(error: ClientError) -> Mapping[str, Any] | None:
    """Return the item that a condition has found.

    boto3 writes again when no answer came, though the first write may have arrived. The condition
    then finds what we wrote ourselves, and that is no conflict.
    """
    # Not a member of every error's response, as the types have it.
    return cast("Mapping[str, Any] | None", error.response.get("Item"))


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
