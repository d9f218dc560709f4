"""`gatehouse clients`: who may ask for tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from functions.shared.authentication.secret_use import DynamoDbSecretUses
from functions.shared.clients.client_registry import WARM_SECONDS
from infra.command_line.client_documents import to_document, to_yaml
from infra.command_line.client_files import apply, diff, export, schema
from infra.command_line.client_imports import import_clients
from infra.command_line.client_table import clients_of
from infra.command_line.new_clients import create
from infra.command_line.options import Group
from infra.command_line.rows import Rows
from infra.command_line.secret_rotation import rotate_secret
from infra.command_line.session import Session, pass_session
from infra.command_line.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functions.shared.clients.client_record import Client
    from functions.shared.clients.client_secrets import StoredSecret


@click.group(cls=Group)
def clients() -> None:
    """Register clients, change them, and take them away."""


@clients.command("list")
@pass_session
def list_clients(session: Session) -> None:
    """List the clients."""
    with session.terminal.progress("Reading the clients"):
        found = [seen.client for seen in clients_of(session).list()]
    columns = ("client", "name", "authentication", "tokens", "scopes", "live secrets", "state")
    session.terminal.show(
        [
            {
                **to_document(client),
                "disabled": client.disabled,
                "live_secrets": _live(session, client),
            }
            for client in found
        ],
        Rows(columns, [_row(client, _live(session, client)) for client in found]),
    )


@clients.command()
@click.argument("client_id")
@pass_session
def show(session: Session, client_id: str) -> None:
    """Show a client, and when its secrets count and were last used; never the secrets."""
    with session.terminal.progress("Reading the client"):
        client = clients_of(session).get(client_id).client
        secrets = list(_secrets(session, client))
    document = {**to_document(client), "disabled": client.disabled}
    session.terminal.show(
        {**document, "secrets": secrets},
        to_yaml([document]),
        *([_secrets_table(secrets)] if secrets else []),
    )


@clients.command()
@click.argument("client_id")
@pass_session
def disable(session: Session, client_id: str) -> None:
    """Refuse a client from now on; tokens that it has stay good until they expire."""
    _set_disabled(session, client_id, disabled=True)
    session.terminal.note(
        f"Client {client_id} is refused within {WARM_SECONDS} seconds. Its JWTs count until they "
        "expire; each can be revoked by its owner."
    )


@clients.command()
@click.argument("client_id")
@pass_session
def enable(session: Session, client_id: str) -> None:
    """Let a client in again."""
    _set_disabled(session, client_id, disabled=False)
    session.terminal.note(f"Client {client_id} is let in within {WARM_SECONDS} seconds.")


@clients.command()
@click.argument("client_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, client_id: str, *, yes: bool) -> None:
    """Delete a client and its secrets; asks first."""
    seen = clients_of(session).get(client_id)
    session.terminal.confirm(
        f"Delete client {client_id}{_called(seen.client)} of {session.deployment.name}?", yes=yes
    )
    clients_of(session).delete(seen)
    session.terminal.show({"client_id": client_id, "deleted": True}, f"Client {client_id} is gone.")


for command in (create, rotate_secret, apply, diff, export, schema, import_clients):
    clients.add_command(command)


def _set_disabled(session: Session, client_id: str, *, disabled: bool) -> None:
    with session.terminal.progress("Writing the client"):
        clients_of(session).change(client_id, lambda client: replace(client, disabled=disabled))
    if session.options.json:
        session.terminal.show({"client_id": client_id, "disabled": disabled})


def _called(client: Client) -> str:
    return f" ({client.name})" if client.name else ""


def _live(session: Session, client: Client) -> int:
    return sum(secret.is_live(session.now()) for secret in client.secrets)


def _row(client: Client, live: int) -> Sequence[object]:
    tokens = client.token_format if client.token_format == "opaque" else client.token_profile  # noqa: S105 - a format
    return (
        client.client_id,
        client.name,
        ", ".join(sorted(client.authentication_methods)),
        f"{tokens}, {client.token_lifetime} s" if client.grant_types else "none",
        " ".join(sorted(client.scopes)),
        live or "",
        "disabled" if client.disabled else "",
    )


def _secrets(session: Session, client: Client) -> Iterator[dict[str, Any]]:
    uses = DynamoDbSecretUses(session.aws.dynamodb, session.deployment.state_table)
    for secret in client.secrets:
        used = uses.last_used(client.client_id, secret.digest)
        yield {
            "kind": "imported" if secret.is_imported else "generated",
            "state": _state(secret, session.now()),
            "not_before": iso(secret.not_before),
            "expires_at": iso(secret.expires_at),
            "last_used_day": (iso(used) or "")[:10] or None,
        }


def _state(secret: StoredSecret, now: float) -> str:
    if secret.is_live(now):
        return "live"
    return "ended" if secret.expires_at is not None and secret.expires_at <= now else "to come"


def _secrets_table(secrets: Sequence[dict[str, Any]]) -> Rows:
    return Rows(
        ("secret", "state", "from", "until", "last used on"),
        [
            (
                secret["kind"],
                secret["state"],
                secret["not_before"] or "always",
                secret["expires_at"] or "no end",
                secret["last_used_day"] or "never",
            )
            for secret in secrets
        ],
    )
