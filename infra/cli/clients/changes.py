"""Differences between wanted clients and registered ones, and how they are applied."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.client_record import TokenFormat, TokenProfile
from infra.cli.clients.documents import from_document, to_document
from infra.cli.terminal.times import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from functions.shared.clients.client_record import Client
    from infra.cli.clients.table import ClientTable, SeenClient


OF_THE_STACK: Final = "authorizer"
"""Client of the Lambda authorizer for introspection. The stack owns it; `--prune` skips it."""


class Kind(StrEnum):
    """Kind of a change."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    NOT_IN_FILE = "not in the file"


@dataclass(frozen=True, slots=True)
class Change:
    """A client as registered (None: new) and as wanted (None: deleted)."""

    kind: Kind
    client_id: str
    seen: SeenClient | None
    wanted: Client | None

    @property
    def differences(self) -> list[tuple[str, object, object]]:
        """Differing fields: name, old value, new value. None means the default."""
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
        """Whether the client differs from the file."""
        return self.kind is not Kind.UNCHANGED

    @property
    def is_written(self) -> bool:
        """Whether applying the change writes to the table."""
        return self.kind in {Kind.CREATE, Kind.CHANGE, Kind.DELETE}

    def to_json(self) -> dict[str, object]:
        """Return the change as JSON."""
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
        """Write the change.

        Raises:
            ConflictError: the client has changed since it was read.
        """
        if self.kind is Kind.DELETE and self.seen:
            table.delete(self.seen)
        elif self.is_written and self.wanted:
            table.put(self.wanted, self.seen)


def plan(
    documents: Sequence[Mapping[str, Any]], registered: Iterable[SeenClient], *, prune: bool = False
) -> list[Change]:
    """Return the change of each client in the file or the table, sorted by id.

    `prune` deletes clients that are not in the file, except the stack's own.

    Raises:
        UsageError: a document is not a valid client.
    """
    known = {seen.client_id: seen for seen in registered}
    changes = [_change(document, known.pop(document["client_id"], None)) for document in documents]
    for client_id, seen in known.items():
        goes = prune and client_id != OF_THE_STACK
        changes.append(Change(Kind.DELETE if goes else Kind.NOT_IN_FILE, client_id, seen, None))
    return sorted(changes, key=lambda change: change.client_id)


def compare(wanted: Client, seen: SeenClient | None) -> Change:
    """Return the change that makes a registered client equal to the wanted one."""
    if seen is None:
        return Change(Kind.CREATE, wanted.client_id, None, wanted)
    is_same = seen.readable is not None and _shown(wanted) == _shown(seen.readable)
    return Change(Kind.UNCHANGED if is_same else Kind.CHANGE, wanted.client_id, seen, wanted)


def _change(document: Mapping[str, Any], seen: SeenClient | None) -> Change:
    return compare(from_document(document, seen.client if seen else None), seen)


def _shown(client: Client) -> dict[str, Any]:
    """Return a client's fields for comparison; a secret is shown by validity and a short hash."""
    secrets = [
        f"{readable(secret.not_before, otherwise='always')} to "
        f"{readable(secret.expires_at, otherwise='no end')} "
        f"({sha256(secret.digest.encode()).hexdigest()[:8]})"
        for secret in client.secrets
    ]
    return {**to_document(client), **({"secrets": secrets} if secrets else {})}


def warnings(client: Client) -> Iterator[str]:
    """Yield warnings about a client whose tokens open nothing or are rejected."""
    name = client.client_id
    if not client.grant_types:
        return
    if not client.scopes:
        yield (
            f"Client {name} has no scopes, so its tokens open no route. "
            f"Add one: gatehouse clients update {name} --add-scope SCOPE"
        )
    is_plain = client.token_profile is TokenProfile.PLAIN and client.token_format is TokenFormat.JWT
    if is_plain and client.audience:
        yield (
            f"Client {name} has the token profile plain: the audience of its tokens is {name}, "
            f"unless a request names a resource. {', '.join(client.audience)} rejects them. "
            f"Change it: gatehouse clients update {name} --token-profile at+jwt"
        )
