"""One JSON line per request: what was asked, by whom, and how it ended. Never a credential."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from authorizer.metrics import Metric
from functions.shared.web.json_text import json_encoder

Emit = Callable[[str], None]
"""Writes one line. `print` in Lambda, whose standard output is the log."""

_CLIENT_FACTS: Final = frozenset({"client_id", "unverified_client_id"})
_DIGEST_DIGITS: Final = 16

_encode: Final = json_encoder()


class AuditEntry:
    """What is known about one request so far. Parts of the request add to it as they learn."""

    __slots__ = ("_claimed_client_id", "_facts", "counted")

    def __init__(self, endpoint: str) -> None:
        self._facts: dict[str, object] = {"endpoint": endpoint}
        self._claimed_client_id: str | None = None
        self.counted: list[Metric] = []

    def note(self, **facts: object) -> None:
        """Add facts that are safe to keep: verified or our own. None is left out."""
        for name, value in facts.items():
            if value is not None:
                self._facts[name] = value

    def count(self, *metrics: Metric) -> None:
        """Count one of each, beside the request itself."""
        self.counted.extend(metrics)

    def claim_client(self, unverified_client_id: str) -> None:
        """Note whom the caller claims to be. Nobody says that it is a client's id at all."""
        self._claimed_client_id = unverified_client_id

    def recognize_client(self, client_id: str) -> None:
        """Note that there is such a client."""
        self._facts["unverified_client_id"] = client_id

    def verify_client(self, client_id: str) -> None:
        """Note that the client is who it claimed to be."""
        self._facts.pop("unverified_client_id", None)
        self._facts["client_id"] = client_id

    def to_json(self) -> str:
        """Render the line. Control characters and everything beyond ASCII are escaped."""
        if self._claimed_client_id is None or not _CLIENT_FACTS.isdisjoint(self._facts):
            return _encode(self._facts)
        # No client of ours: perhaps a secret in the wrong field. A digest tells ids apart, too.
        digest = sha256(self._claimed_client_id.encode("utf-8", "surrogatepass")).hexdigest()
        return _encode(self._facts | {"unknown_client_digest": digest[:_DIGEST_DIGITS]})
