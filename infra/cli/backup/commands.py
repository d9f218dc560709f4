"""`gatehouse backup` and `gatehouse restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from functions.rotate_keys.ring_store import RingStore
from functions.shared.runtime.secret_store import SecretsManagerStore
from infra.cli.backup import backups
from infra.cli.clients.changes import Change, Kind, compare
from infra.cli.clients.files import lines, payload, write
from infra.cli.clients.table import ClientTable, clients_of, refuse_broken
from infra.cli.session import Session, pass_session
from infra.cli.terminal.confidential import write_private_file
from infra.cli.terminal.errors import CommandError, ConflictError
from infra.cli.terminal.options import Command
from infra.cli.terminal.rows import counted
from infra.cli.terminal.times import readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from functions.rotate_keys.ring_store import SeenRing
    from functions.shared.clients.client_record import Client
    from functions.shared.keys.key_ring import RingKey

_file = click.argument("file", type=click.Path(path_type=Path), help="The backup file.")


@click.command(cls=Command)
@_file
@pass_session
def backup(session: Session, file: Path) -> None:
    """Write all clients and public keys to a new file with mode 0600.

    The file contains digests of client secrets. It contains no private keys: after a restore the
    deployment signs with its own keys.
    """
    with session.terminal.progress("Reading clients and keys"):
        clients = list(clients_of(session).list())
        refuse_broken(clients)
        ring = _rings(session).read().ring
    write_private_file(file, backups.to_json(session.deployment, clients, ring, session.now()))
    session.terminal.show(
        {"file": str(file), "clients": len(clients), "keys": len(ring.keys)},
        f"{counted(len(clients), 'client')} and {counted(len(ring.keys), 'public key')} written "
        f"to {file}.",
    )


@click.command(cls=Command)
@_file
@click.option("--overwrite", is_flag=True, help="Also restore clients that differ from the backup.")
@click.option(
    "--keys",
    "with_keys",
    is_flag=True,
    help="Also publish the backup's public keys: tokens signed by these keys will be accepted.",
)
@click.option("--dry-run", is_flag=True, help="Show the changes without writing them.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_session
def restore(
    session: Session, file: Path, *, overwrite: bool, with_keys: bool, dry_run: bool, yes: bool
) -> None:
    """Restore clients and public keys missing from the deployment.

    Missing clients are registered with their secrets. Clients that differ are listed, and restored
    with --overwrite. Public keys are listed, and published with --keys: a restored key signs
    nothing, but tokens signed by it are accepted until they expire. Nothing is deleted.
    """
    backup = backups.read(file)
    clients = clients_of(session)
    with session.terminal.progress("Reading clients and keys"):
        changes = _changes(clients, backup.clients)
        seen = _rings(session).read()
        missing = backups.missing_keys(seen.ring, backup.ring, session.now())
    keys = missing if with_keys else ()
    written = [c for c in changes if c.kind is Kind.CREATE or (overwrite and c.is_written)]
    report = {
        "taken_at": backup.taken_at,
        "dry_run": dry_run,
        "clients": payload(changes),
        "keys": [key.kid for key in keys],
        "keys_not_restored": [key.kid for key in missing if key not in keys],
    }
    described: list[RenderableType] = [
        *lines(changes),
        *(_described(key, is_restored=with_keys) for key in missing),
    ]
    if backup.issuer != session.deployment.issuer:
        session.terminal.warn(
            f"The backup is from the issuer {backup.issuer}. {session.deployment.issuer} does not "
            "accept its tokens, even if their keys are published."
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
    differing = len([change for change in changes if change.is_written]) - len(written)
    skipped = (
        (differing, "client", "they differ", "--overwrite"),
        (len(missing) - len(keys), "public key", "tokens signed by them are rejected", "--keys"),
    )
    notes = [
        f"Not restored: {counted(number, noun)} ({why}; see {option})."
        for number, noun, why, option in skipped
        if number
    ]
    session.terminal.show(
        {**report, "conflicts": failed},
        f"Restored {counted(len(written) - len(failed), 'client')} and "
        f"{counted(len(keys), 'public key')}.",
        *notes,
    )
    if failed:
        raise ConflictError(f"Clients changed by another process: {', '.join(failed)}.")


def _described(key: RingKey, *, is_restored: bool) -> str:
    until = readable(key.publish_until)
    if is_restored:
        return f"+ key {key.kid}: tokens signed by this key will be accepted until {until}"
    return (
        f"? key {key.kid}: not restored; with --keys tokens signed by this key will be accepted "
        f"until {until}"
    )


def _rings(session: Session) -> RingStore:
    deployment = session.deployment
    return RingStore(SecretsManagerStore(session.aws.secrets_manager), deployment.key_ring_secret)


def _changes(clients: ClientTable, wanted: Iterable[Client]) -> list[Change]:
    known = {seen.client_id: seen for seen in clients.list()}
    return [compare(client, known.get(client.client_id)) for client in wanted]


def _publish(session: Session, seen: SeenRing, keys: tuple[RingKey, ...]) -> None:
    if backups.signs_nothing(seen.ring, session.now()):
        raise CommandError(
            "The deployment has no signing key, and a restored key cannot sign.",
            "Invoke RotateKeys (it runs hourly and at deployment), then restore again.",
        )
    _rings(session).write(backups.with_keys(seen.ring, keys), seen)
