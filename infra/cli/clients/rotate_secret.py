"""`gatehouse clients rotate-secret`: a further secret, and an end for those of today."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from functions.shared.clients.authentication_methods import CLIENT_SECRET_BASIC
from functions.shared.clients.client_registry import STALE_SECONDS, WARM_SECONDS
from infra.cli.clients.documents import SECRET_METHODS
from infra.cli.clients.new_secrets import (
    NewSecret,
    deliver,
    secret_file_option,
    secret_to_option,
)
from infra.cli.clients.table import clients_of
from infra.cli.session import Session, pass_session
from infra.cli.terminal.errors import CommandError, UsageError
from infra.cli.terminal.options import Command
from infra.cli.terminal.times import parse_moment, readable

if TYPE_CHECKING:
    from pathlib import Path

    from functions.shared.clients.client_record import Client
    from functions.shared.clients.client_secrets import StoredSecret


@click.command("rotate-secret", cls=Command)
@click.argument("client_id")
@click.option(
    "--old-until",
    default="7d",
    show_default=True,
    metavar="TIME",
    help="Until when the secrets of today count: now, 12h, 7d, or a date (UTC).",
)
@secret_file_option
@secret_to_option
@pass_session
def rotate_secret(
    session: Session,
    client_id: str,
    *,
    old_until: str,
    secret_file: Path | None,
    secret_to: Path | None,
) -> None:
    """Give a client a new secret; the old ones count until a date."""
    until = parse_moment(old_until, session.now())
    if until < int(session.now()):
        raise UsageError(f"{old_until} is over.", "For an end at once, write --old-until now.")
    clients = clients_of(session)
    _refuse_without_secret(clients.get(client_id).client)
    new = NewSecret.make(secret_file)

    def rotate() -> None:
        clients.change(client_id, lambda client: rotated(client, new.stored, until, session.now()))

    deliver(session, client_id, new, secret_to, rotate, old_until=until)
    if until > session.now():
        session.terminal.note(f"Secrets from before count until {readable(until)}.")
    else:
        session.terminal.note(
            f"Secrets from before end everywhere within {WARM_SECONDS} seconds, {STALE_SECONDS} in "
            "processes that cannot ask the table."
        )


def rotated(client: Client, new: StoredSecret, until: int, now: float) -> Client:
    """Return the client with a further secret, and with an end for those it had; ended ones go.

    Raises:
        CommandError: it has no method that takes a secret, or would have two imported ones.
    """
    _refuse_without_secret(client)
    kept = (
        secret if _ends_before(secret, until) else replace(secret, expires_at=until)
        for secret in client.secrets
    )
    live = tuple(secret for secret in kept if not _ends_before(secret, int(now)))
    try:
        return replace(client, secrets=(*live, new))
    except ValueError as error:
        raise CommandError(
            f"Client {client.client_id}: {error}", "End the old one with --old-until now."
        ) from error


def _ends_before(secret: StoredSecret, moment: int) -> bool:
    return secret.expires_at is not None and secret.expires_at <= moment


def _refuse_without_secret(client: Client) -> None:
    if not SECRET_METHODS & client.authentication_methods:
        methods = ", ".join(sorted(client.authentication_methods))
        raise CommandError(
            f"Client {client.client_id} proves itself without a secret, by {methods}.",
            f"To give it one, add {CLIENT_SECRET_BASIC} to its methods in a clients file.",
        )
