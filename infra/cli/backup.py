"""`gatehouse backup` and `gatehouse restore`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path

import click
from rich.console import RenderableType

from functions.rotate_keys.key_rotation import RingStore
from functions.shared.clients.client import Client, from_item
from functions.shared.clients.trust_rule import TrustRule
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing, RingKey, UnusableKeyRingError
from functions.shared.keys.rotation import PROPAGATION_SECONDS, RETENTION_NEEDED
from functions.shared.storage.errors import StorageCorruptError
from functions.shared.storage.secrets_manager import SecretStore

from .changes import Change, Kind, changes_to, lines, payload, refuse_conflicts, write_each
from .context import CommandContext, Deployment, pass_context
from .documents import CLIENTS, RULES
from .errors import CommandError, UsageError
from .input_files import read_text, write_private_file
from .options import Command
from .output import counted
from .record_store import ClientTable, R, RuleTable, Seen, refuse_broken, rule_from_item
from .rules import check_overlaps
from .times import iso, readable

FORMAT = "gatehouse-backup"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Backup:
    """The content of a backup."""

    taken_at: str
    issuer: str
    clients: tuple[Client, ...]
    rules: tuple[TrustRule, ...]
    ring: KeyRing


def backup_json(
    deployment: Deployment, clients: Iterable[Seen[Client]], rules: Iterable[Seen[TrustRule]], ring: KeyRing, now: float
) -> str:
    """Return a backup as JSON. Clients and trust rules are DynamoDB items."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "taken_at": iso(now),
        "stack": deployment.name,
        "issuer": deployment.issuer,
        "clients": [seen.item for seen in clients],
        "rules": [seen.item for seen in rules],
        "key_ring": json.loads(key_ring.to_json(ring)),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def read_backup(path: Path) -> Backup:
    """Read a backup; raises NotFoundError, UsageError."""
    try:
        document = json.loads(read_text(path))
        kind, version = document["format"], document["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path} is not a backup of Gatehouse.") from None
    if kind != FORMAT:
        raise UsageError(f"{path} is not a backup of Gatehouse.")
    if version != VERSION:
        raise UsageError(
            f"{path} has the backup version {version}; this command reads version {VERSION}.",
            "Use the command line of the version that wrote it.",
        )
    try:
        clients = tuple(from_item(item) for item in document["clients"])
        # Backups of earlier versions have no rules.
        rules = tuple(map(rule_from_item, document.get("rules", ())))
        ring = key_ring.from_json(json.dumps(document["key_ring"]))
        return Backup(document["taken_at"], document["issuer"], clients, rules, ring)
    except (StorageCorruptError, UnusableKeyRingError) as error:
        why = str(error)
    # Raised by boto3 for values that are not items.
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        why = f"a value is not valid ({error})"
    problem = f"{path} cannot be restored: {why.rstrip('.')}."
    raise UsageError(problem, "The file was changed, or a newer version wrote it.")


def missing_keys(ring: KeyRing, backed_up: KeyRing, now: float) -> tuple[RingKey, ...]:
    """Return the keys of tokens that can still be valid, as published keys that never sign.

    A key that had not signed, or whose last token has expired, is not restored.
    """
    known = {key.kid for key in ring.keys}
    start = floor(now)
    return tuple(
        replace(key, sign_until=min(key.sign_until or start, start), publish_until=until)
        for key in backed_up.keys
        if key.kid not in known and key.sign_from < now and (until := _needed_until(key, start)) > now
    )


def _needed_until(key: RingKey, now: int) -> int:
    """Return the expiry of a key's last token, if the key has signed until now."""
    longest = now + PROPAGATION_SECONDS + RETENTION_NEEDED
    return longest if key.publish_until is None else min(key.publish_until, longest)


_file = click.argument("file", type=click.Path(path_type=Path), help="The backup file.")


@click.command(cls=Command)
@_file
@pass_context
def backup(context: CommandContext, file: Path) -> None:
    """Write all clients, trust rules and public keys to a new file with mode 0600.

    The file contains digests of client secrets. It contains no private keys: after a restore the
    deployment signs with its own keys.
    """
    with context.terminal.progress("Reading clients, rules and keys"):
        clients, rules = ClientTable.of(context).list(), RuleTable.of(context).list()
        refuse_broken(clients)
        refuse_broken(rules)
        ring = _rings(context).read().ring
    write_private_file(file, backup_json(context.deployment, clients, rules, ring, context.now()))
    context.terminal.show(
        {"file": str(file), "clients": len(clients), "rules": len(rules), "keys": len(ring.keys)},
        f"{_counted(len(clients), len(rules), len(ring.keys))} written to {file}.",
    )


@click.command(cls=Command)
@_file
@click.option("--overwrite", is_flag=True, help="Also restore clients and rules that differ from the backup.")
@click.option(
    "--keys",
    "with_keys",
    is_flag=True,
    help="Also publish the backup's public keys: tokens signed by these keys will be accepted.",
)
@click.option("--dry-run", is_flag=True, help="Show the changes without writing them.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def restore(context: CommandContext, file: Path, *, overwrite: bool, with_keys: bool, dry_run: bool, yes: bool) -> None:
    """Restore clients, trust rules and public keys missing from the deployment.

    Missing clients are registered with their secrets. Clients and rules that differ are listed, and restored
    with --overwrite. Public keys are listed, and published with --keys: a restored key signs
    nothing, but tokens signed by it are accepted until they expire. Nothing is deleted.
    """
    backup = read_backup(file)
    clients, rules = ClientTable.of(context), RuleTable.of(context)
    with context.terminal.progress("Reading clients, rules and keys"):
        changes = _in_backup(changes_to(CLIENTS, backup.clients, clients.list()))
        all_rule_changes = changes_to(RULES, backup.rules, rules.list())
        check_overlaps(all_rule_changes)
        rule_changes = _in_backup(all_rule_changes)
        seen = _rings(context).read()
        missing = missing_keys(seen.ring, backup.ring, context.now())
    keys = missing if with_keys else ()
    written = [each for each in changes if each.kind is Kind.CREATE or (overwrite and each.is_written)]
    written_rules = [each for each in rule_changes if each.kind is Kind.CREATE or (overwrite and each.is_written)]
    report = {
        "taken_at": backup.taken_at,
        "dry_run": dry_run,
        "clients": payload(changes),
        "rules": payload(rule_changes),
        "keys": [key.kid for key in keys],
        "keys_not_restored": [key.kid for key in missing if key not in keys],
    }
    described: list[RenderableType] = [
        *lines(changes),
        *lines(rule_changes),
        *(_described(key, is_restored=with_keys) for key in missing),
    ]
    if backup.issuer != context.deployment.issuer:
        context.terminal.warn(
            f"The backup is from the issuer {backup.issuer}. {context.deployment.issuer} does not "
            "accept its tokens, even if their keys are published."
        )
    if dry_run:
        context.terminal.show(report, *described)
        return
    if written or written_rules or keys:
        context.terminal.note(*described)
        context.terminal.confirm(f"Restore {_counted(len(written), len(written_rules), len(keys))}?", yes=yes)
    if keys:
        if not any(key.may_sign(context.now()) for key in seen.ring.keys):
            raise CommandError(
                "The deployment has no signing key, and a restored key cannot sign.",
                "Invoke RotateKeys (it runs hourly and at deployment), then restore again.",
            )
        _rings(context).write(KeyRing((*seen.ring.keys, *keys)), seen)
    failed = write_each(context.terminal, written, clients)
    failed_rules = write_each(context.terminal, written_rules, rules)
    skipped = (
        (_unwritten(changes, written), "client", "they differ", "--overwrite"),
        (_unwritten(rule_changes, written_rules), "rule", "they differ", "--overwrite"),
        (len(missing) - len(keys), "public key", "tokens signed by them are rejected", "--keys"),
    )
    notes = [
        f"Not restored: {counted(number, noun)} ({why}; see {option})."
        for number, noun, why, option in skipped
        if number
    ]
    context.terminal.show(
        {**report, "conflicts": failed, "rule_conflicts": failed_rules},
        f"Restored {_counted(len(written) - len(failed), len(written_rules) - len(failed_rules), len(keys))}.",
        *notes,
    )
    refuse_conflicts(CLIENTS, failed)
    refuse_conflicts(RULES, failed_rules)


def _in_backup(changes: Iterable[Change[R]]) -> list[Change[R]]:
    return [change for change in changes if change.kind is not Kind.NOT_IN_FILE]


def _unwritten(changes: Sequence[Change[R]], written: Sequence[Change[R]]) -> int:
    return len([change for change in changes if change.is_written]) - len(written)


def _counted(clients: int, rules: int, keys: int) -> str:
    return f"{counted(clients, 'client')}, {counted(rules, 'rule')} and {counted(keys, 'public key')}"


def _described(key: RingKey, *, is_restored: bool) -> str:
    until = readable(key.publish_until)
    if is_restored:
        return f"+ key {key.kid}: tokens signed by this key will be accepted until {until}"
    return f"? key {key.kid}: not restored; with --keys tokens signed by this key will be accepted until {until}"


def _rings(context: CommandContext) -> RingStore:
    deployment = context.deployment
    return RingStore(SecretStore(context.aws), deployment.resource("KeyRingSecret"))
