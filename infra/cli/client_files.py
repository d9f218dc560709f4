"""`gatehouse clients apply`, `diff`, `export` and `schema`: clients as a reviewed file."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from functions.shared.clients.client import Client, TokenFormat, TokenProfile

from .changes import Change, Kind, is_same, lines, payload, write_after_confirmation, write_each
from .client_documents import SECRET_METHODS, clients_file, from_document, read_file, to_document, to_yaml
from .client_store import ClientTable, SeenClient, clients_of
from .context import CommandContext, pass_context
from .errors import ConflictError, ExitCode, NotFoundError
from .options import Command
from .times import readable

OF_THE_STACK = "authorizer"
"""Client of the Lambda authorizer for introspection. The stack owns it; `--prune` skips it."""


@dataclass(frozen=True, slots=True)
class ClientChange(Change):
    """A client as registered (None: new) and as wanted (None: deleted)."""

    seen: SeenClient | None
    wanted: Client | None

    KEY_NAME = "client_id"

    @property
    def before(self) -> Mapping[str, Any]:
        """The registered client."""
        return _comparable(self.seen.readable) if self.seen and self.seen.readable else {}

    @property
    def after(self) -> Mapping[str, Any]:
        """The wanted client."""
        return _comparable(self.wanted) if self.wanted else {}

    def apply(self, table: ClientTable) -> None:
        """Write the change; raises ConflictError."""
        if self.kind is Kind.DELETE and self.seen:
            table.delete(self.seen)
        elif self.is_written and self.wanted:
            table.put(self.wanted, self.seen)


def plan(
    documents: Sequence[Mapping[str, Any]], registered: Iterable[SeenClient], *, prune: bool = False
) -> list[ClientChange]:
    """Return the change of each client in the file or the table, sorted by id.

    `prune` deletes clients that are not in the file, except the stack's own.

    Raises:
        UsageError: a document is not a valid client.
    """
    known = {seen.client_id: seen for seen in registered}
    found = [(document, known.pop(document["client_id"], None)) for document in documents]
    changes = [compare(from_document(document, seen.client if seen else None), seen) for document, seen in found]
    for client_id, seen in known.items():
        kind = Kind.DELETE if prune and client_id != OF_THE_STACK else Kind.NOT_IN_FILE
        changes.append(ClientChange(kind, client_id, seen, None))
    return sorted(changes, key=lambda change: change.key)


def compare(wanted: Client, seen: SeenClient | None) -> ClientChange:
    """Return the change that makes a registered client equal to the wanted one."""
    if seen is None:
        return ClientChange(Kind.CREATE, wanted.client_id, None, wanted)
    unchanged = seen.readable is not None and is_same(_comparable(wanted), _comparable(seen.readable))
    return ClientChange(Kind.UNCHANGED if unchanged else Kind.CHANGE, wanted.client_id, seen, wanted)


def _comparable(client: Client) -> dict[str, Any]:
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


_file = click.argument("file", type=click.Path(path_type=Path), help="Clients file, YAML or JSON.")
_only = click.option("--client", "only", multiple=True, metavar="ID", help="Only this client; may be repeated.")


@click.command(cls=Command)
@_file
@_only
@click.option("--dry-run", is_flag=True, help="Show the changes without writing them.")
@click.option("--prune", is_flag=True, help="Delete clients that the file does not contain.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def apply(context: CommandContext, file: Path, *, only: tuple[str, ...], dry_run: bool, prune: bool, yes: bool) -> None:
    """Create and update clients from a file.

    Shows the differences, asks for confirmation, and writes a client only if it has not changed
    since. Clients that are not in the file are listed; --prune deletes them, except 'authorizer',
    which belongs to the stack. A file contains no secrets, so secrets never change.
    """
    documents = read_file(file)
    clients = clients_of(context)
    changes = _plan(context, clients, documents, only, prune=prune)
    write = partial(write_each, context.terminal, apply=partial(ClientChange.apply, table=clients))
    written, failed = write_after_confirmation(context.terminal, changes, write, dry_run=dry_run, yes=yes)
    for client in (change.wanted for change in written if change.wanted):
        if not client.secrets and SECRET_METHODS & client.authentication_methods:
            rotate = f"gatehouse clients rotate-secret {client.client_id}"
            context.terminal.note(f"Client {client.client_id} has no secret. Create one: {rotate}")
        for warning in warnings(client):
            context.terminal.warn(warning)
    if failed:
        raise ConflictError(f"Clients changed by another process and therefore not written: {', '.join(failed)}.")


@click.command(cls=Command)
@_file
@_only
@click.option("--strict", is_flag=True, help="Exit with 1 for clients outside the file too.")
@pass_context
def diff(context: CommandContext, file: Path, *, only: tuple[str, ...], strict: bool) -> None:
    """Compare the clients of a file with the deployment; exit with 1 if they differ.

    Clients that are not in the file are listed. They change the exit code only with --strict.
    """
    documents = read_file(file)
    clients = clients_of(context)
    changes = _plan(context, clients, documents, only, prune=False)
    context.terminal.show({"changes": payload(changes)}, *lines(changes))
    if any(change.is_written or (strict and change.is_drift) for change in changes):
        click.get_current_context().exit(ExitCode.REFUSED)


@click.command(cls=Command)
@pass_context
def export(context: CommandContext) -> None:
    """Print all clients as a clients file, without secrets."""
    clients = clients_of(context)
    with context.terminal.progress("Reading the clients"):
        documents = [to_document(seen.client) for seen in clients.list()]
    if context.options.json:
        context.terminal.show({"clients": documents})
    else:
        context.terminal.write(to_yaml(documents).rstrip("\n"))


@click.command(cls=Command)
@pass_context
def schema(context: CommandContext) -> None:
    """Print the JSON schema of a clients file."""
    context.terminal.write(json.dumps(clients_file(), indent=2))


def _plan(
    context: CommandContext,
    clients: ClientTable,
    documents: Sequence[dict[str, object]],
    only: tuple[str, ...],
    *,
    prune: bool,
) -> list[ClientChange]:
    with context.terminal.progress("Reading the clients"):
        changes = plan(documents, clients.list(), prune=prune)
    if not only:
        return changes
    unknown = set(only) - {change.key for change in changes}
    if unknown:
        raise NotFoundError(f"Neither the file nor the deployment has client {', '.join(sorted(unknown))}.")
    return [change for change in changes if change.key in only]
