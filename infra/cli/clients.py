"""`gatehouse clients`: list, show, disable and delete clients, and apply and compare a clients file."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import FRESH_SECONDS
from functions.shared.clients.client_secrets import StoredSecret, digest_generated, generate_secret
from functions.shared.storage.state_table import SecretUses

from .changes import Change, plan, refuse_conflicts, show_differences, show_file, write_after_confirmation
from .client_imports import FORMATS, Draft, read_export
from .client_registration import create, rotate_secret, update, warn
from .context import CommandContext, pass_context
from .documents import CLIENTS, SECRET_METHODS, client_document, read_file, to_yaml
from .errors import ExitCode, NotFoundError
from .input_files import write_private_file
from .options import Command, Group
from .output import TextTable, counted
from .record_store import SEEN_WITHIN, ClientTable, refuse_broken
from .times import iso, span


@click.group(cls=Group)
def clients() -> None:
    """Register, change and delete clients."""


@clients.command("list")
@pass_context
def list_clients(context: CommandContext) -> None:
    """List the clients; exit with 4 if a record cannot be read."""
    with context.terminal.progress("Reading the clients"):
        seen = ClientTable.of(context).list()
    found = [each.readable for each in seen if each.readable]
    live = [sum(secret.is_live(context.now()) for secret in client.secrets) for client in found]
    documents = [{**client_document(client), "disabled": client.disabled} for client in found]
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
        client = ClientTable.of(context).get(client_id).record
        secrets = list(_secrets(context, client))
    document = {**client_document(client), "disabled": client.disabled}
    context.terminal.show(
        {**document, "secrets": secrets}, to_yaml([document], CLIENTS), *([_secrets_table(secrets)] if secrets else [])
    )


@clients.command()
@click.argument("client_id")
@pass_context
def disable(context: CommandContext, client_id: str) -> None:
    """Disable a client and its opaque tokens; its JWTs stay valid until they expire."""
    with context.terminal.progress("Writing the client"):
        seen = ClientTable.of(context).disable(client_id)
    _show_disabled(context, client_id, disabled=True)
    if seen.fault:
        context.terminal.warn(
            f"Client {client_id} is marked as disabled, but its record cannot be read: "
            f"{seen.fault}. Delete it: gatehouse clients delete {client_id}."
        )
        return
    context.terminal.note(
        f"Client {client_id} is rejected {SEEN_WITHIN}. Its JWTs are valid until they expire or are revoked."
    )


@clients.command()
@click.argument("client_id")
@pass_context
def enable(context: CommandContext, client_id: str) -> None:
    """Enable a disabled client."""
    with context.terminal.progress("Writing the client"):
        ClientTable.of(context).change(client_id, lambda client: replace(client, disabled=False))
    _show_disabled(context, client_id, disabled=False)
    context.terminal.note(f"Client {client_id} is accepted within {FRESH_SECONDS} seconds.")


@clients.command()
@click.argument("client_id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def delete(context: CommandContext, client_id: str, *, yes: bool) -> None:
    """Delete a client and its secrets, after a confirmation."""
    seen = ClientTable.of(context).get(client_id)
    description = f" ({seen.readable.name})" if seen.readable and seen.readable.name else ""
    if seen.readable is None:
        description = f", whose record cannot be read ({seen.fault}),"
    context.terminal.confirm(f"Delete client {client_id}{description} of {context.deployment.label}?", yes=yes)
    ClientTable.of(context).delete(seen)
    context.terminal.show({"client_id": client_id, "deleted": True}, f"Client {client_id} deleted.")


_file = click.argument("file", type=click.Path(path_type=Path), help="Clients file, YAML or JSON.")
_only = click.option("--client", "only", multiple=True, metavar="ID", help="Only this client; may be repeated.")


@clients.command(cls=Command)
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
    table, changes = _plan(context, file, only, prune=prune)
    written, failed = write_after_confirmation(context.terminal, changes, table, dry_run=dry_run, yes=yes)
    for client in (change.wanted for change in written if change.wanted):
        if not client.secrets and SECRET_METHODS & client.authentication_methods:
            rotate = f"gatehouse clients rotate-secret {client.client_id}"
            context.terminal.note(f"Client {client.client_id} has no secret. Create one: {rotate}")
        warn(context, client)
    refuse_conflicts(CLIENTS, failed)


@clients.command(cls=Command)
@_file
@_only
@click.option("--strict", is_flag=True, help="Exit with 1 for clients outside the file too.")
@pass_context
def diff(context: CommandContext, file: Path, *, only: tuple[str, ...], strict: bool) -> None:
    """Compare the clients of a file with the deployment; exit with 1 if they differ.

    Clients that are not in the file are listed. They change the exit code only with --strict.
    """
    _, changes = _plan(context, file, only)
    show_differences(context, changes, strict=strict)


@clients.command(cls=Command)
@pass_context
def export(context: CommandContext) -> None:
    """Print all clients as a clients file, without secrets."""
    with context.terminal.progress("Reading the clients"):
        documents = [client_document(client) for client in refuse_broken(ClientTable.of(context).list())]
    show_file(context.terminal, CLIENTS, documents)


@clients.command(cls=Command)
@pass_context
def schema(context: CommandContext) -> None:
    """Print the JSON schema of a clients file."""
    context.terminal.write(json.dumps(CLIENTS.schema, indent=2))


def _plan(
    context: CommandContext, file: Path, only: tuple[str, ...], *, prune: bool = False
) -> tuple[ClientTable, list[Change[Client]]]:
    """Return the clients table, and the changes that the file wants to all clients or to `only` these."""
    documents = read_file(file, CLIENTS)
    table = ClientTable.of(context)
    with context.terminal.progress("Reading the clients"):
        changes = plan(CLIENTS, documents, table.list(), prune=prune)
    unknown = set(only) - {change.key for change in changes}
    if unknown:
        raise NotFoundError(f"Neither the file nor the deployment has client {', '.join(sorted(unknown))}.")
    return table, [change for change in changes if not only or change.key in only]


@clients.command("import", cls=Command)
@click.argument("kind", metavar="FORMAT", type=click.Choice(list(FORMATS)), help="Format of the export.")
@click.argument("file", type=click.Path(path_type=Path), help="The export.")
@click.option("--dry-run", is_flag=True, help="Show the result without registering clients.")
@click.option(
    "--new-secrets-to",
    type=click.Path(path_type=Path),
    help="Create secrets where none can be imported. They are written to a new file "
    "with mode 0600, as JSON by client_id.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def import_clients(
    context: CommandContext, kind: str, file: Path, *, dry_run: bool, new_secrets_to: Path | None, yes: bool
) -> None:
    """Register the clients of another authorization server.

    FORMAT is cognito (describe-user-pool-client), keycloak (a realm export), spring (oauth2_registered_client as CSV or
    JSON) or hydra (list oauth2-clients --format json). Registered clients never change. Lists for each client what
    cannot be converted. Plain-text secrets stay valid. Hashed secrets cannot be converted: create new ones with
    --new-secrets-to, or later with rotate-secret.
    """
    table = ClientTable.of(context)
    with context.terminal.progress("Reading"):
        known = {seen.key for seen in table.list()}
        entries = [_imported(draft, known, new_secrets=bool(new_secrets_to)) for draft in read_export(kind, file)]
    written = [entry for entry in entries if entry.client is not None]
    if not dry_run and written:
        if not yes:
            context.terminal.note(_imports_table(entries))
        context.terminal.confirm(f"Register {counted(len(written), 'client')}?", yes=yes)
        secrets = {entry.report["client_id"]: entry.new_secret for entry in written if entry.new_secret}
        if new_secrets_to and secrets:
            # Written first: a secret that is registered but not written would be lost.
            write_private_file(new_secrets_to, json.dumps(secrets, indent=2) + "\n")
        with context.terminal.progress(f"Registering {counted(len(written), 'client')}"):
            for client in filter(None, (entry.client for entry in written)):
                table.put(client, None)
    if dry_run:
        context.terminal.note("Dry run: nothing is written.")
    context.terminal.show({"dry_run": dry_run, "clients": [entry.report for entry in entries]}, _imports_table(entries))
    if len(written) < len(entries):
        click.get_current_context().exit(ExitCode.REFUSED)


for command in (create, update, rotate_secret):
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


@dataclass(frozen=True, slots=True)
class _Import:
    """The result for one client of the export. `client` is None if it is left out."""

    client: Client | None
    report: dict[str, Any]
    new_secret: str | None = field(default=None, repr=False)


def _imported(draft: Draft, known: set[str], *, new_secrets: bool) -> _Import:
    client, is_known = draft.finished(), draft.client_id in known
    known.add(draft.client_id)
    report = {"client_id": draft.client_id, "outcome": "registered", "secret": "", "not_carried_over": draft.lost}
    if client is None or is_known:
        why = "this client_id is taken" if client else draft.refusal
        return _Import(None, {**report, "outcome": f"left out: {why}"})
    if not SECRET_METHODS & client.authentication_methods:
        return _Import(client, {**report, "secret": "needs none"})
    if draft.secret:
        return _Import(replace(client, secrets=(draft.secret,)), {**report, "secret": "carried over"})
    if not new_secrets:
        return _Import(client, {**report, "secret": "none yet"})
    secret = generate_secret()
    stored = StoredSecret(digest_generated(secret))
    return _Import(replace(client, secrets=(stored,)), {**report, "secret": "new"}, secret)


def _imports_table(entries: Iterable[_Import]) -> TextTable:
    rows = [(*list(entry.report.values())[:3], "\n".join(entry.report["not_carried_over"])) for entry in entries]
    return TextTable(("client", "outcome", "secret", "not converted"), rows)
