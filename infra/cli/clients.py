"""`gatehouse clients`: list, show, disable, enable and delete clients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import FRESH_SECONDS, STALE_SECONDS
from functions.shared.storage.state_table import SecretUses

from .client_documents import to_document, to_yaml
from .client_files import apply, diff, export, schema
from .client_imports import import_clients
from .client_registration import create, rotate_secret, update
from .client_store import clients_of, refuse_broken
from .context import CommandContext, pass_context
from .options import Group
from .output import TextTable, counted
from .times import iso, span


@click.group(cls=Group)
def clients() -> None:
    """Register, change and delete clients."""


@clients.command("list")
@pass_context
def list_clients(context: CommandContext) -> None:
    """List the clients; exit with 4 if a record cannot be read."""
    with context.terminal.progress("Reading the clients"):
        seen = list(clients_of(context).list())
    found = [each.readable for each in seen if each.readable]
    live = [sum(secret.is_live(context.now()) for secret in client.secrets) for client in found]
    documents = [{**to_document(client), "disabled": client.disabled} for client in found]
    columns = ("client", "authentication", "tokens", "scopes")
    context.terminal.show(
        [{**document, "live_secrets": number} for document, number in zip(documents, live, strict=True)],
        TextTable(columns, map(_row, found, live)),
    )
    refuse_broken(seen)


@clients.command()
@click.argument("client_id")
@pass_context
def show(context: CommandContext, client_id: str) -> None:
    """Show a client with validity and last use of its secrets, without the secrets."""
    with context.terminal.progress("Reading the client"):
        client = clients_of(context).get(client_id).client
        secrets = list(_secrets(context, client))
    document = {**to_document(client), "disabled": client.disabled}
    context.terminal.show(
        {**document, "secrets": secrets}, to_yaml([document]), *([_secrets_table(secrets)] if secrets else [])
    )


@clients.command()
@click.argument("client_id")
@pass_context
def disable(context: CommandContext, client_id: str) -> None:
    """Disable a client and its opaque tokens; its JWTs stay valid until they expire."""
    with context.terminal.progress("Writing the client"):
        seen = clients_of(context).disable(client_id)
    _show_disabled(context, client_id, disabled=True)
    if seen.fault:
        context.terminal.warn(
            f"Client {client_id} is marked as disabled, but its record cannot be read: "
            f"{seen.fault}. Delete it: gatehouse clients delete {client_id}."
        )
        return
    context.terminal.note(
        f"Client {client_id} is rejected within {FRESH_SECONDS} seconds, or {STALE_SECONDS} "
        "seconds while DynamoDB is unavailable. "
        "Its JWTs are valid until they expire or are revoked."
    )


@clients.command()
@click.argument("client_id")
@pass_context
def enable(context: CommandContext, client_id: str) -> None:
    """Enable a disabled client."""
    with context.terminal.progress("Writing the client"):
        clients_of(context).change(client_id, lambda client: replace(client, disabled=False))
    _show_disabled(context, client_id, disabled=False)
    context.terminal.note(f"Client {client_id} is accepted within {FRESH_SECONDS} seconds.")


@clients.command()
@click.argument("client_id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def delete(context: CommandContext, client_id: str, *, yes: bool) -> None:
    """Delete a client and its secrets, after a confirmation."""
    seen = clients_of(context).get(client_id)
    description = f" ({seen.readable.name})" if seen.readable and seen.readable.name else ""
    if seen.readable is None:
        description = f", whose record cannot be read ({seen.fault}),"
    context.terminal.confirm(f"Delete client {client_id}{description} of {context.deployment.label}?", yes=yes)
    clients_of(context).delete(seen)
    context.terminal.show({"client_id": client_id, "deleted": True}, f"Client {client_id} deleted.")


for command in (create, update, rotate_secret, apply, diff, export, schema, import_clients):
    clients.add_command(command)


def _show_disabled(context: CommandContext, client_id: str, *, disabled: bool) -> None:
    if context.options.json:
        context.terminal.show({"client_id": client_id, "disabled": disabled})


def _row(client: Client, live: int) -> Sequence[object]:
    tokens = client.token_format if client.token_format == "opaque" else client.token_profile
    valid = counted(live, "valid secret")
    return (
        "\n  ".join(filter(None, (client.client_id, client.name, "disabled" * client.disabled))),
        "\n".join((*sorted(client.authentication_methods), *([valid] if live else []))),
        f"{tokens}\n{span(client.token_lifetime)}" if client.grant_types else "none",
        " ".join(sorted(client.scopes)),
    )


def _secrets(context: CommandContext, client: Client) -> Iterator[dict[str, Any]]:
    uses = SecretUses(context.aws, context.deployment.resource("StateTable"))
    for secret in client.secrets:
        used = uses.last_used(client.client_id, secret.digest)
        is_over = secret.expires_at is not None and secret.expires_at <= context.now()
        yield {
            "kind": "imported" if secret.is_imported else "generated",
            "state": "live" if secret.is_live(context.now()) else "ended" if is_over else "to come",
            "not_before": iso(secret.not_before),
            "expires_at": iso(secret.expires_at),
            "last_used_day": (iso(used) or "")[:10] or None,
        }


_STATE_NAMES: Mapping[str, str] = {"live": "valid", "ended": "expired", "to come": "not yet valid"}
"""Names in the table. JSON has the others, which programs read."""


def _secrets_table(secrets: Sequence[dict[str, Any]]) -> TextTable:
    return TextTable(
        ("secret", "state", "from", "until", "last used on"),
        [
            (
                secret["kind"],
                _STATE_NAMES[secret["state"]],
                secret["not_before"] or "always",
                secret["expires_at"] or "no end",
                secret["last_used_day"] or "never",
            )
            for secret in secrets
        ],
    )
