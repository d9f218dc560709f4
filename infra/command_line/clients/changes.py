"""What a clients file would change in the table: computed, shown, then applied."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from infra.command_line.clients.documents import from_document, to_document
from infra.command_line.terminal.times import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functions.shared.clients.client_record import Client
    from infra.command_line.clients.table import ClientTable, SeenClient


OF_THE_STACK: Final = "authorizer"
"""The client that the Lambda authorizer introspects with: the stack's own, in no team's file."""


class Kind(StrEnum):
    """What becomes of a client."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    NOT_IN_FILE = "not in the file"


@dataclass(frozen=True, slots=True)
class Change:
    """One client: as it is (None: not there), and as it is to be (None: not there any more)."""

    kind: Kind
    client_id: str
    seen: SeenClient | None
    wanted: Client | None

    @property
    def differences(self) -> list[tuple[str, object, object]]:
        """The fields that differ: name, as it is, as it is to be. None: it has the default."""
        before = _shown(self.seen.readable) if self.seen and self.seen.readable else {}
        after = _shown(self.wanted) if self.wanted else {}
        names = dict.fromkeys([*before, *after])
        return [
            (name, before.get(name), after.get(name))
            for name in names
            if before.get(name) != after.get(name)
        ]

    @property
    def is_drift(self) -> bool:
        """Whether table and file say different things."""
        return self.kind is not Kind.UNCHANGED

    @property
    def is_written(self) -> bool:
        """Whether applying it writes to the table."""
        return self.kind in {Kind.CREATE, Kind.CHANGE, Kind.DELETE}

    def to_json(self) -> dict[str, object]:
        """Render it for programs."""
        return {
            "client_id": self.client_id,
            "change": self.kind.value,
            "fields": {
                name: {"from": before, "to": after} for name, before, after in self.differences
            }
            if self.kind is not Kind.NOT_IN_FILE
            else {},
        }

    def apply(self, table: ClientTable) -> None:
        """Write it, if the client is still as it was seen.

        Raises:
            ConflictError: it is not.
        """
        if self.kind is Kind.DELETE and self.seen:
            table.delete(self.seen)
        elif self.is_written and self.wanted:
            table.put(self.wanted, self.seen)


def plan(
    documents: Sequence[Mapping[str, Any]], registered: Iterable[SeenClient], *, prune: bool = False
) -> list[Change]:
    """Return what becomes of each client of the file and of the table, by id.

    The stack's own client is never deleted for want of a mention.

    Raises:
        UsageError: a document makes no client.
    """
    known = {seen.client_id: seen for seen in registered}
    changes = [_change(document, known.pop(document["client_id"], None)) for document in documents]
    for client_id, seen in known.items():
        goes = prune and client_id != OF_THE_STACK
        changes.append(Change(Kind.DELETE if goes else Kind.NOT_IN_FILE, client_id, seen, None))
    return sorted(changes, key=lambda change: change.client_id)


def compare(wanted: Client, seen: SeenClient | None) -> Change:
    """Return what becomes of a client that is to be exactly as it is wanted."""
    if seen is None:
        return Change(Kind.CREATE, wanted.client_id, None, wanted)
    is_same = seen.readable is not None and _shown(wanted) == _shown(seen.readable)
    return Change(Kind.UNCHANGED if is_same else Kind.CHANGE, wanted.client_id, seen, wanted)


def _change(document: Mapping[str, Any], seen: SeenClient | None) -> Change:
    return compare(from_document(document, seen.client if seen else None), seen)


def _shown(client: Client) -> dict[str, Any]:
    """Render a client as differences are told: secrets by when they count, never by digest."""
    secrets = [
        f"{readable(secret.not_before, otherwise='always')} to "
        f"{readable(secret.expires_at, otherwise='no end')} "
        f"({sha256(secret.digest.encode()).hexdigest()[:8]})"
        for secret in client.secrets
    ]
    return {**to_document(client), **({"secrets": secrets} if secrets else {})}
