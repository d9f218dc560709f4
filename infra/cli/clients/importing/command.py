"""`gatehouse clients import`: clients of Cognito, Spring Authorization Server and Hydra."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from functions.shared.clients.client_secrets import (
    StoredSecret,
    digest_generated,
    generate_secret,
)
from infra.cli.clients.documents import SECRET_METHODS
from infra.cli.clients.importing import cognito, hydra, spring
from infra.cli.clients.table import ClientTable, clients_of
from infra.cli.session import Session, pass_session
from infra.cli.terminal.confidential import write_private_file
from infra.cli.terminal.errors import ExitCode, UsageError
from infra.cli.terminal.options import Command
from infra.cli.terminal.rows import TextTable, counted
from infra.cli.terminal.strict_yaml import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from functions.shared.clients.client_record import Client
    from infra.cli.clients.importing.imported import Draft

FORMATS: Final[Mapping[str, Callable[[str, str], Iterator[Draft]]]] = {
    "cognito": cognito.read,
    "spring": spring.read,
    "hydra": hydra.read,
}


_ODD: Final = (
    AttributeError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    csv.Error,
)
"""What reading raises for values of another type, size or depth than the format has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One client of the export: the client to register, if any, and what to tell about it."""

    draft: Draft
    client: Client | None
    is_known: bool
    new_secret: str | None = field(default=None, repr=False)

    @property
    def outcome(self) -> str:
        """What becomes of it."""
        if self.client is None:
            return f"left out: {self.draft.refusal}"
        return "left out: this client_id is taken" if self.is_known else "registered"

    @property
    def secret(self) -> str:
        """What becomes of its secret."""
        if self.client is None or self.is_known:
            return ""
        if not SECRET_METHODS & self.client.authentication_methods:
            return "needs none"
        if self.new_secret:
            return "new"
        return "carried over" if self.client.secrets else "none yet"

    @property
    def is_written(self) -> bool:
        """Whether it is to be registered."""
        return self.client is not None and not self.is_known

    def to_json(self) -> dict[str, object]:
        """Render it for programs, without secrets."""
        return {
            "client_id": self.draft.client_id,
            "outcome": self.outcome,
            "secret": self.secret,
            "not_carried_over": self.draft.lost,
        }


@click.command("import", cls=Command)
@click.argument("kind", metavar="FORMAT", type=click.Choice(list(FORMATS)), help="Whose export.")
@click.argument("file", type=click.Path(path_type=Path), help="The export.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--new-secrets-to",
    type=click.Path(path_type=Path),
    help="Make secrets for clients whose own cannot be carried over; write them to a new file of "
    "mode 0600, as JSON by client_id.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def import_clients(
    session: Session,
    kind: str,
    file: Path,
    *,
    dry_run: bool,
    new_secrets_to: Path | None,
    yes: bool,
) -> None:
    """Register the clients of another authorization server.

    FORMAT is cognito (describe-user-pool-client), spring (oauth2_registered_client as CSV or JSON)
    or hydra (list oauth2-clients --format json). Says of each client what cannot be carried over
    and why. A client that is registered already is never touched. Secrets that the export holds in
    plain text go on working; hashes cannot be converted, and such clients get a new secret with
    --new-secrets-to, or later with rotate-secret.
    """
    clients = clients_of(session)
    with session.terminal.progress("Reading"):
        known = {seen.client_id for seen in clients.list()}
        drafts = _drafts(kind, file)
        entries = [_entry(draft, known, new_secrets=bool(new_secrets_to)) for draft in drafts]
    written = [entry for entry in entries if entry.is_written]
    if not dry_run and written:
        if not yes:
            session.terminal.note_parts(*_report(entries))
        session.terminal.confirm(f"Register {counted(len(written), 'client')}?", yes=yes)
        with session.terminal.progress(f"Registering {counted(len(written), 'client')}"):
            _register(clients, written, new_secrets_to)
    if dry_run:
        session.terminal.note("A dry run: nothing is written.")
    session.terminal.show(
        {"dry_run": dry_run, "clients": [entry.to_json() for entry in entries]}, *_report(entries)
    )
    if len(written) < len(entries):
        click.get_current_context().exit(ExitCode.REFUSED)


def _drafts(kind: str, file: Path) -> list[Draft]:
    text = read_text(file)
    try:
        return list(FORMATS[kind](text, str(file)))
    except _ODD as error:
        # Without the value: an export holds secrets.
        raise UsageError(
            f"{file} has something in it that {kind} does not write.", "Is it of this format?"
        ) from error


def _entry(draft: Draft, known: set[str], *, new_secrets: bool) -> Entry:
    client, is_known = draft.finished(), draft.client_id in known
    known.add(draft.client_id)
    if client is None or is_known:
        return Entry(draft, client, is_known)
    takes_secret = bool(SECRET_METHODS & client.authentication_methods)
    if draft.secret and takes_secret:
        return Entry(draft, replace(client, secrets=(draft.secret,)), is_known)
    if not (new_secrets and takes_secret):
        return Entry(draft, client, is_known)
    secret = generate_secret()
    stored = StoredSecret(digest_generated(secret))
    return Entry(draft, replace(client, secrets=(stored,)), is_known, secret)


def _register(clients: ClientTable, entries: Sequence[Entry], new_secrets_to: Path | None) -> None:
    secrets = {entry.draft.client_id: entry.new_secret for entry in entries if entry.new_secret}
    if new_secrets_to and secrets:
        # First of all: a secret that is registered and nowhere written down is lost.
        write_private_file(new_secrets_to, json.dumps(secrets, indent=2) + "\n")
    for entry in entries:
        if entry.client:
            clients.put(entry.client, None)


def _report(entries: Sequence[Entry]) -> list[RenderableType]:
    rows = [
        (entry.draft.client_id, entry.outcome, entry.secret, "\n".join(entry.draft.lost))
        for entry in entries
    ]
    return [TextTable(("client", "outcome", "secret", "not carried over"), rows)]
