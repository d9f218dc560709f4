"""A backup: clients as they are kept, and the public half of the key ring.

Client secrets are in it as the digests that the table holds. Private keys are never in it: whoever
finds a backup can sign nothing. A restored deployment signs with keys of its own, and publishes the
old ones until the last token that they signed has expired.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Any, Final

from functions.rotate_keys.rotation_rules import RETENTION_NEEDED, SETTLING
from functions.shared.clients.client_record import from_item
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing, RingKey, UnusableKeyRingError
from functions.shared.runtime.records import UnreadableRecordError
from infra.cli.terminal.errors import UsageError
from infra.cli.terminal.strict_yaml import read_text
from infra.cli.terminal.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from functions.shared.clients.client_record import Client
    from infra.cli.clients.table import SeenClient
    from infra.cli.deployment.lookup import Deployment

FORMAT: Final = "gatehouse-backup"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    taken_at: str
    stack: str
    issuer: str
    clients: tuple[Client, ...]
    ring: KeyRing


def to_json(
    deployment: Deployment, clients: Iterable[SeenClient], ring: KeyRing, now: float
) -> str:
    """Render a backup. Clients are DynamoDB items, so that it can be read without Gatehouse too."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "taken_at": iso(now),
        "stack": deployment.name,
        "issuer": deployment.issuer,
        "clients": [seen.item for seen in clients],
        "key_ring": json.loads(key_ring.to_json(ring)),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def read(path: Path) -> Backup:
    """Read a backup.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no backup, or one of a newer version.
    """
    try:
        document = json.loads(read_text(path))
        kind, version = document["format"], document["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path} is no backup of Gatehouse.") from None
    if kind != FORMAT:
        raise UsageError(f"{path} is no backup of Gatehouse.")
    if version != VERSION:
        raise UsageError(
            f"{path} is a backup of version {version}, and this command reads {VERSION}.",
            "Use the command line of the Gatehouse that wrote it.",
        )
    try:
        return _of_document(document)
    except (UnreadableRecordError, UnusableKeyRingError) as error:
        raise _unusable(path, str(error)) from error
    # What boto3 makes of an item that is none.
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise _unusable(path, f"something in it is not what it should be ({error})") from error


def _unusable(path: Path, why: str) -> UsageError:
    problem = f"{path} cannot be restored: {why.rstrip('.')}."
    return UsageError(problem, "It was changed, or a newer Gatehouse wrote it.")


def _of_document(document: Mapping[str, Any]) -> Backup:
    return Backup(
        taken_at=document["taken_at"],
        stack=document["stack"],
        issuer=document["issuer"],
        clients=tuple(from_item(item) for item in document["clients"]),
        ring=key_ring.from_json(json.dumps(document["key_ring"])),
    )


def missing_keys(ring: KeyRing, backed_up: KeyRing, now: float) -> tuple[RingKey, ...]:
    """Return the keys that verifiers need once more: those of tokens that still count.

    They are published and never sign: their private halves are not in a backup. A key that had not
    begun to sign, or whose last token has expired, is needed no more.
    """
    known = {key.kid for key in ring.keys}
    start = floor(now)
    return tuple(
        replace(key, sign_until=min(key.sign_until or start, start), publish_until=until)
        for key in backed_up.keys
        if key.kid not in known
        and key.sign_from < now
        and (until := _needed_until(key, start)) > now
    )


def _needed_until(key: RingKey, now: int) -> int:
    """Return until when a key's tokens may count, should it have signed until now."""
    longest = now + SETTLING + RETENTION_NEEDED
    return longest if key.publish_until is None else min(key.publish_until, longest)


def signs_nothing(ring: KeyRing, now: float) -> bool:
    """Whether no key of a ring may sign."""
    return not any(key.may_sign(now) for key in ring.keys)


def with_keys(ring: KeyRing, keys: Sequence[RingKey]) -> KeyRing:
    """Return a ring with further keys."""
    return KeyRing((*ring.keys, *keys))
