"""One JSON line per request: what was asked, by whom, and how it ended. Never a credential."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

Emit = Callable[[str], None]
"""Writes one line. `print` in Lambda, whose standard output is the log."""

MAX_UNVERIFIED_LENGTH: Final = 128
SCANNABLE_PREFIX: Final = "gh_"
"""How every secret and token of ours begins, so that a scanner recognises a leaked one."""


class AuditEntry:
    """What is known about one request so far. Parts of the request add to it as they learn."""

    __slots__ = ("_facts",)

    def __init__(self, endpoint: str) -> None:
        self._facts: dict[str, object] = {"endpoint": endpoint}

    def note(self, **facts: object) -> None:
        """Add facts that are safe to keep: verified or our own. None is left out."""
        for name, value in facts.items():
            if value is not None:
                self._facts[name] = value

    def note_unverified(self, **claims: str) -> None:
        """Add what a caller merely claims, shortened, under a name that says so."""
        for name, claim in claims.items():
            self._facts[f"unverified_{name}"] = _presentable(claim)

    def verify_client(self, client_id: str) -> None:
        """Note that the client is who it claimed to be."""
        self._facts.pop("unverified_client_id", None)
        self._facts["client_id"] = client_id

    def to_json(self) -> str:
        """Render the line. Control characters and everything beyond ASCII are escaped."""
        return json.dumps(self._facts)


def _presentable(claim: str) -> str:
    # A secret pasted into the wrong field is still a secret.
    if claim.startswith(SCANNABLE_PREFIX):
        return f"{SCANNABLE_PREFIX}[withheld]"
    return claim[:MAX_UNVERIFIED_LENGTH]
