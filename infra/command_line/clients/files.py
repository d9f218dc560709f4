"""`gatehouse clients apply`, `diff`, `export` and `schema`: clients as a reviewed file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from infra.command_line.clients.changes import Kind, plan
from infra.command_line.clients.documents import read_file, to_document, to_yaml
from infra.command_line.clients.new_secrets import SECRET_METHODS
from infra.command_line.clients.schema import clients_file
from infra.command_line.clients.table import ClientTable, clients_of
from infra.command_line.session import Session, pass_session
from infra.command_line.terminal.errors import ConflictError, ExitCode
from infra.command_line.terminal.options import Command
from infra.command_line.terminal.rows import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.command_line.clients.changes import Change

_SIGNS = {
    Kind.CREATE: ("+", "green"),
    Kind.CHANGE: ("~", "yellow"),
    Kind.DELETE: ("-", "red"),
    Kind.NOT_IN_FILE: ("?", "dim"),
}
_file = click.argument("file", type=click.Path(path_type=Path), help="Clients in YAML or JSON.")


@click.command(cls=Command)
@_file
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--prune", is_flag=True, help="Delete the clients that the file does not name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def apply(session: Session, file: Path, *, dry_run: bool, prune: bool, yes: bool) -> None:
    """Make the clients what a file says.

    Shows the differences, asks, and writes each client only if it is still as it was shown.
    Clients that the file does not name are listed and left alone; with --prune all of them go but
    'authorizer', which is the stack's own. Secrets are in no file: they stay as they are.
    """
    documents = read_file(file)
    clients = clients_of(session)
    changes = _plan(session, clients, documents, prune=prune)
    writes = [change for change in changes if change.is_written]
    if not dry_run and writes:
        session.terminal.note("\n".join(str(line) for line in lines(changes)))
        session.terminal.confirm(f"Write {_counted(writes)}?", yes=yes)
    failed = [] if dry_run else write(session, clients, writes)
    report = {"dry_run": dry_run, "changes": payload(changes), "conflicts": failed}
    if dry_run:
        session.terminal.show(report, *lines(changes))
        return
    session.terminal.show(
        report, f"{_counted([c for c in writes if c.client_id not in failed])}: done."
    )
    _tell_of_missing_secrets(session, writes)
    if failed:
        raise ConflictError(
            f"Somebody else changed these meanwhile, and they were left alone: {', '.join(failed)}."
        )


@click.command(cls=Command)
@_file
@pass_session
def diff(session: Session, file: Path) -> None:
    """Show where clients and file differ; exit with 1 if they do."""
    documents = read_file(file)
    clients = clients_of(session)
    changes = _plan(session, clients, documents, prune=False)
    session.terminal.show({"changes": payload(changes)}, *lines(changes))
    if any(change.is_drift for change in changes):
        click.get_current_context().exit(ExitCode.REFUSED)


@click.command(cls=Command)
@pass_session
def export(session: Session) -> None:
    """Print the clients as a file for apply, without their secrets."""
    clients = clients_of(session)
    with session.terminal.progress("Reading the clients"):
        documents = [to_document(seen.client) for seen in clients.list()]
    if session.options.json:
        session.terminal.show({"clients": documents})
    else:
        session.terminal.write(to_yaml(documents).rstrip("\n"))


@click.command(cls=Command)
@pass_session
def schema(session: Session) -> None:
    """Print the JSON schema of a clients file."""
    session.terminal.write(json.dumps(clients_file(), indent=2))


def _plan(
    session: Session, clients: ClientTable, documents: Sequence[dict[str, object]], *, prune: bool
) -> list[Change]:
    with session.terminal.progress("Reading the clients"):
        return plan(documents, clients.list(), prune=prune)


def write(session: Session, clients: ClientTable, changes: Sequence[Change]) -> list[str]:
    """Write changes one by one; return the ids of those that somebody else was faster with."""
    failed = []
    with session.terminal.progress(f"Writing {_counted(changes)}"):
        for change in changes:
            try:
                change.apply(clients)
            except ConflictError:
                failed.append(change.client_id)
    return failed


def _tell_of_missing_secrets(session: Session, changes: Sequence[Change]) -> None:
    for change in changes:
        client = change.wanted
        if client and not client.secrets and SECRET_METHODS & client.authentication_methods:
            session.terminal.note(
                f"Client {client.client_id} has no secret yet: "
                f"gatehouse clients rotate-secret {client.client_id}"
            )


def payload(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Render changes for programs."""
    return [change.to_json() for change in changes if change.is_drift]


def lines(changes: Sequence[Change]) -> Iterator[Text]:
    """Render changes for people."""
    drifted = [change for change in changes if change.is_drift]
    if not drifted:
        yield Text("Clients and file say the same.")
    for change in drifted:
        sign, style = _SIGNS[change.kind]
        yield safe(f"{sign} {change.client_id}  ({change.kind.value})", style=style)
        if change.kind in {Kind.CREATE, Kind.CHANGE}:
            for name, before, after in change.differences:
                shown = _shown(after) if change.seen is None else _difference(before, after)
                yield safe(f"    {name}: {shown}")


def _difference(before: object, after: object) -> str:
    """Say what changes: in a list, what comes and goes."""
    if isinstance(before, list) and isinstance(after, list):
        gone = [f"-{_shown(each)}" for each in before if each not in after]
        come = [f"+{_shown(each)}" for each in after if each not in before]
        if gone or come:
            return " ".join([*gone, *come])
    return f"{_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    if value is None:
        return "(the default)"
    return value if isinstance(value, str) else json.dumps(value)


def _counted(changes: Sequence[Change]) -> str:
    counts = {
        kind: sum(change.kind is kind for change in changes)
        for kind in (Kind.CREATE, Kind.CHANGE, Kind.DELETE)
    }
    words = [f"{count} to {kind.value}" for kind, count in counts.items() if count]
    return ", ".join(words) or "nothing to write"
