"""Changes of records in a table, as `apply`, `diff`, `update` and `restore` show and write them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic

import click
from rich.text import Text

from .context import CommandContext
from .documents import RecordKind, to_yaml
from .errors import ConflictError, ExitCode
from .output import Terminal, safe
from .record_store import R, Seen, Table


class Kind(StrEnum):
    """Kind of a change."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    NOT_IN_FILE = "not in the file"


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """A record as registered (None: new) and as wanted (None: not in the file)."""

    kind: Kind
    records: RecordKind[R]
    key: str
    seen: Seen[R] | None
    wanted: R | None

    @property
    def differences(self) -> list[tuple[str, object, object]]:
        """Differing fields: name, old value, new value. None means the default."""
        registered = self.seen.readable if self.seen else None
        before: Mapping[str, Any] = self.records.compared(registered) if registered else {}
        after: Mapping[str, Any] = self.records.compared(self.wanted) if self.wanted else {}
        both = {name: (before.get(name), after.get(name)) for name in [*before, *after]}
        return [(name, old, new) for name, (old, new) in both.items() if not is_same(old, new)]

    @property
    def is_drift(self) -> bool:
        """True if the record differs from the file."""
        return self.kind is not Kind.UNCHANGED

    @property
    def is_written(self) -> bool:
        """True if applying the change writes to the table."""
        return self.kind in {Kind.CREATE, Kind.CHANGE, Kind.DELETE}

    def apply(self, table: Table[R]) -> None:
        """Write the change; raises ConflictError."""
        if self.wanted:
            table.put(self.wanted, self.seen)
        elif self.seen:
            table.delete(self.seen)

    def to_json(self) -> dict[str, object]:
        """Return the change as JSON."""
        is_left = self.kind is Kind.NOT_IN_FILE
        differences = [] if is_left else self.differences
        return {
            self.records.key: self.key,
            "change": self.kind.value,
            "fields": {name: {"from": before, "to": after} for name, before, after in differences},
        }


def plan(
    records: RecordKind[R],
    documents: Sequence[Mapping[str, Any]],
    registered: Sequence[Seen[R]],
    *,
    prune: bool = False,
) -> list[Change[R]]:
    """Return the change of each record in the file or the table, sorted by key.

    `prune` deletes records that are not in the file, except the stack's own.

    Raises:
        UsageError: a document is not a valid record.
    """
    known = {seen.key: seen for seen in registered}
    wanted = [records.build(document, known.get(document[records.key])) for document in documents]
    return changes_to(records, wanted, registered, prune=prune)


def changes_to(
    records: RecordKind[R], wanted: Iterable[R], registered: Iterable[Seen[R]], *, prune: bool = False
) -> list[Change[R]]:
    """Return the change of each record that is wanted or registered, sorted by key."""
    left = {seen.key: seen for seen in registered}
    changes = [compare(records, record, left.pop(getattr(record, records.key), None)) for record in wanted]
    for key, seen in left.items():
        kind = Kind.DELETE if prune and key != records.of_the_stack else Kind.NOT_IN_FILE
        changes.append(Change(kind, records, key, seen, None))
    return sorted(changes, key=lambda change: change.key)


def compare(records: RecordKind[R], wanted: R, seen: Seen[R] | None) -> Change[R]:
    """Return the change that makes a registered record equal to the wanted one."""
    kind = Kind.CHANGE if seen else Kind.CREATE
    if seen and seen.readable and is_same(records.compared(wanted), records.compared(seen.readable)):
        kind = Kind.UNCHANGED
    return Change(kind, records, getattr(wanted, records.key), seen, wanted)


def is_same(before: object, after: object) -> bool:
    """Return whether two values are the same JSON. In Python, the claims 1 and true are equal."""
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def write_each(terminal: Terminal, changes: Sequence[Change[R]], table: Table[R]) -> list[str]:
    """Write changes one by one; return the keys of records that another process has changed.

    Records are deleted first, because a new one may overlap with them.
    """
    failed = []
    with terminal.progress(f"Writing ({counted_changes(changes)})"):
        for change in sorted(changes, key=lambda change: change.wanted is not None):
            try:
                change.apply(table)
            except ConflictError:
                failed.append(change.key)
    return failed


def write_after_confirmation(
    terminal: Terminal, changes: Sequence[Change[R]], table: Table[R], *, dry_run: bool, yes: bool
) -> tuple[list[Change[R]], list[str]]:
    """Show changes, and write them after a confirmation, unless it is a dry run.

    Return the written ones, and the keys of records that another process has changed.
    """
    writes = [] if dry_run else [change for change in changes if change.is_written]
    if writes:
        terminal.note(*lines(changes))
        terminal.confirm(f"Write the changes ({counted_changes(writes)})?", yes=yes)
    failed = write_each(terminal, writes, table) if writes else []
    written = [change for change in writes if change.key not in failed]
    done = [f"Done: {counted_changes(written)}." if written else "No changes."]
    report = {"dry_run": dry_run, "changes": payload(changes), "conflicts": failed}
    terminal.show(report, *(lines(changes) if dry_run else done))
    return written, failed


def refuse_conflicts(records: RecordKind[R], keys: Sequence[str]) -> None:
    """Return if no write failed; raises ConflictError."""
    if keys:
        noun = records.plural.capitalize()
        raise ConflictError(f"{noun} changed by another process and therefore not written: {', '.join(keys)}.")


def show_differences(context: CommandContext, changes: Sequence[Change[R]], *, strict: bool) -> None:
    """Show changes, and exit with 1 if the table differs from the file; `strict` includes records outside the file."""
    context.terminal.show({"changes": payload(changes)}, *lines(changes))
    if any(change.is_written or (strict and change.is_drift) for change in changes):
        click.get_current_context().exit(ExitCode.REFUSED)


def show_file(terminal: Terminal, records: RecordKind[R], documents: Sequence[Mapping[str, Any]]) -> None:
    """Print documents as a file that `apply` reads."""
    if terminal.as_json:
        terminal.show({records.plural: documents})
    else:
        terminal.write(to_yaml(documents, records).rstrip("\n"))


def payload(changes: Sequence[Change[R]]) -> list[dict[str, object]]:
    """Return changes as JSON."""
    return [change.to_json() for change in changes if change.is_drift]


_SIGNS = {
    Kind.CREATE: ("+", "green"),
    Kind.CHANGE: ("~", "yellow"),
    Kind.DELETE: ("-", "red"),
    Kind.NOT_IN_FILE: ("?", "dim"),
}


def lines(changes: Sequence[Change[R]]) -> Iterator[Text]:
    """Render changes for a terminal."""
    drifted = [change for change in changes if change.is_drift]
    if not drifted:
        yield Text("No differences.")
    for change in drifted:
        sign, style = _SIGNS[change.kind]
        yield safe(f"{sign} {change.key}  ({change.kind.value})", style=style)
        if change.kind in {Kind.CREATE, Kind.CHANGE}:
            for name, before, after in change.differences:
                shown = _shown(after) if change.kind is Kind.CREATE else _difference(before, after)
                yield safe(f"    {name}: {shown}")


def counted_changes(changes: Sequence[Change[R]]) -> str:
    """Return the numbers of changes by kind: `1 created, 2 changed`."""
    counts = {
        word: sum(change.kind is kind for change in changes)
        for kind, word in ((Kind.CREATE, "created"), (Kind.CHANGE, "changed"), (Kind.DELETE, "deleted"))
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _difference(before: object, after: object) -> str:
    """Render a change of a value; for lists the removed and the added entries."""
    if isinstance(before, list) and isinstance(after, list):
        removed = [f"-{_shown(each)}" for each in before if each not in after]
        added = [f"+{_shown(each)}" for each in after if each not in before]
        if removed or added:
            return " ".join([*removed, *added])
    return f"{_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    return "(the default)" if value is None else text_of(value)


def text_of(value: object) -> str:
    """Return a JSON value for a terminal: texts without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
