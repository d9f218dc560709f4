"""Changes of records in a table, as `apply`, `diff` and `update` show them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from rich.text import Text

from .errors import ConflictError
from .output import Terminal, safe


class Kind(StrEnum):
    """Kind of a change."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    NOT_IN_FILE = "not in the file"


@dataclass(frozen=True, slots=True)
class Change(ABC):
    """A record as registered and as wanted; `key` is its name in the table."""

    kind: Kind
    key: str

    KEY_NAME: ClassVar[str]
    """Name of the key in JSON output."""

    @property
    @abstractmethod
    def before(self) -> Mapping[str, Any]:
        """The registered fields; empty for a new record."""

    @property
    @abstractmethod
    def after(self) -> Mapping[str, Any]:
        """The wanted fields; empty for a deleted record."""

    @property
    def differences(self) -> list[tuple[str, object, object]]:
        """Differing fields: name, old value, new value. None means the default."""
        before, after = self.before, self.after
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

    def to_json(self) -> dict[str, object]:
        """Return the change as JSON."""
        is_left = self.kind is Kind.NOT_IN_FILE
        differences = [] if is_left else self.differences
        return {
            self.KEY_NAME: self.key,
            "change": self.kind.value,
            "fields": {name: {"from": before, "to": after} for name, before, after in differences},
        }


C = TypeVar("C", bound=Change)


def is_same(before: object, after: object) -> bool:
    """Return whether two values are the same JSON. In Python, the claims 1 and true are equal."""
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def write_each(terminal: Terminal, changes: Sequence[C], apply: Callable[[C], None]) -> list[str]:
    """Write changes one by one; return the keys of records that another process has changed."""
    failed = []
    with terminal.progress(f"Writing ({counted_changes(changes)})"):
        for change in changes:
            try:
                apply(change)
            except ConflictError:
                failed.append(change.key)
    return failed


def write_after_confirmation(
    terminal: Terminal, changes: Sequence[C], write: Callable[[Sequence[C]], list[str]], *, dry_run: bool, yes: bool
) -> tuple[list[C], list[str]]:
    """Show changes, and write them with `write` after a confirmation, unless it is a dry run.

    Return the written ones, and the keys of records that another process has changed.
    """
    writes = [change for change in changes if change.is_written]
    if not dry_run and writes:
        terminal.note("\n".join(str(line) for line in lines(changes)))
        terminal.confirm(f"Write the changes ({counted_changes(writes)})?", yes=yes)
    failed = [] if dry_run else write(writes)
    written = [] if dry_run else [change for change in writes if change.key not in failed]
    done = [f"Done: {counted_changes(written)}." if written else "No changes."]
    report = {"dry_run": dry_run, "changes": payload(changes), "conflicts": failed}
    terminal.show(report, *(lines(changes) if dry_run else done))
    return written, failed


def payload(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return changes as JSON."""
    return [change.to_json() for change in changes if change.is_drift]


_SIGNS = {
    Kind.CREATE: ("+", "green"),
    Kind.CHANGE: ("~", "yellow"),
    Kind.DELETE: ("-", "red"),
    Kind.NOT_IN_FILE: ("?", "dim"),
}


def lines(changes: Sequence[Change]) -> Iterator[Text]:
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


def counted_changes(changes: Sequence[Change]) -> str:
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
