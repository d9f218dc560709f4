"""`gatehouse backup` and `gatehouse restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from functions.rotate_keys.ring_store import RingStore
from functions.shared.runtime.secret_store import SecretsManagerStore
from infra.command_line.backup import backups
from infra.command_line.clients.changes import Change, Kind, compare
from infra.command_line.clients.files import lines, payload, write
from infra.command_line.clients.table import ClientTable, clients_of, refuse_broken
from infra.command_line.session import Session, pass_session
from infra.command_line.terminal.confidential import write_private_file
from infra.command_line.terminal.errors import CommandError, ConflictError
from infra.command_line.terminal.options import Command
from infra.command_line.terminal.rows import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from functions.rotate_keys.ring_store import SeenRing
    from functions.shared.clients.client_record import Client
    from functions.shared.keys.key_ring import RingKey

_file = click.argument("file", type=click.Path(path_type=Path), help="The backup.")


@click.command(cls=Command)
@_file
@pass_session
def backup(session: Session, file: Path) -> None:
    """Write clients and public keys to a new file that only you may read.

    Client secrets are in it as digests. Private keys are not: after a restore the deployment signs
    with keys of its own.
    """
    with session.terminal.progress("Reading clients and keys"):
        clients = list(clients_of(session).list())
        refuse_broken(clients)
        ring = _rings(session).read().ring
    write_private_file(file, backups.to_json(session.deployment, clients, ring, session.now()))
    session.terminal.show(
        {"file": str(file), "clients": len(clients), "keys": len(ring.keys)},
        f"{counted(len(clients), 'client')}, {counted(len(ring.keys), 'public key')}: {file}.",
    )


@click.command(cls=Command)
@_file
@click.option(
    "--overwrite", is_flag=True, help="Also put clients back that have been changed since."
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def restore(session: Session, file: Path, *, overwrite: bool, dry_run: bool, yes: bool) -> None:
    """Put back what a backup has and the deployment lacks.

    Clients that are missing are registered again, with their secrets. Clients that differ are
    listed, and put back with --overwrite. Nothing is ever deleted. Public keys of tokens that still
    count are published again, and sign nothing.
    """
    backup = backups.read(file)
    clients = clients_of(session)
    with session.terminal.progress("Reading clients and keys"):
        changes = _changes(clients, backup.clients)
        seen = _rings(session).read()
        keys = backups.missing_keys(seen.ring, backup.ring, session.now())
    written = [c for c in changes if c.kind is Kind.CREATE or (overwrite and c.is_written)]
    report = {
        "taken_at": backup.taken_at,
        "dry_run": dry_run,
        "clients": payload(changes),
        "keys": [key.kid for key in keys],
    }
    described: list[RenderableType] = [
        *lines(changes),
        *(f"+ key {key.kid}, published, signs nothing" for key in keys),
    ]
    if backup.issuer != session.deployment.issuer:
        session.terminal.warn(
            f"The backup is of {backup.issuer}: tokens from there are not good at "
            f"{session.deployment.issuer}, whatever keys are published."
        )
    if dry_run:
        session.terminal.show(report, *described)
        return
    if written or keys:
        session.terminal.note_parts(*described)
        session.terminal.confirm(
            f"Restore {counted(len(written), 'client')} and {counted(len(keys), 'public key')}?",
            yes=yes,
        )
    if keys:
        _publish(session, seen, keys)
    failed = write(session, clients, written)
    left = len([change for change in changes if change.is_written]) - len(written)
    session.terminal.show(
        {**report, "conflicts": failed},
        f"{counted(len(written) - len(failed), 'client')} and "
        f"{counted(len(keys), 'public key')} restored.",
        *(
            [f"Left alone, for they differ: {counted(left, 'client')} (see --overwrite)."]
            if left
            else []
        ),
    )
    if failed:
        raise ConflictError(f"Somebody else changed these meanwhile: {', '.join(failed)}.")


def _rings(session: Session) -> RingStore:
    deployment = session.deployment
    return RingStore(SecretsManagerStore(session.aws.secrets_manager), deployment.key_ring_secret)


def _changes(clients: ClientTable, wanted: Iterable[Client]) -> list[Change]:
    known = {seen.client_id: seen for seen in clients.list()}
    return [compare(client, known.get(client.client_id)) for client in wanted]


def _publish(session: Session, seen: SeenRing, keys: tuple[RingKey, ...]) -> None:
    if backups.signs_nothing(seen.ring, session.now()):
        raise CommandError(
            "The deployment has no key that signs, and an old one cannot be its first.",
            "Let rotate_keys run (it does so hourly and at deployment), then restore again.",
        )
    _rings(session).write(backups.with_keys(seen.ring, keys), seen)
