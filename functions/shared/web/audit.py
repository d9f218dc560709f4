"""One JSON log line per request, without credentials, and the metrics in it.

Dimensions of a metric are members of the line with values from a fixed list.
"""

from collections.abc import Callable
from hashlib import sha256

from authorizer.metrics import Metric

from ..json_encoding import json_encoder

Emit = Callable[[str], None]
"""Writes one line. `print` in Lambda, whose standard output is the log."""

_CLIENT_FACTS = frozenset({"client_id", "unverified_client_id"})
_DIGEST_DIGITS = 16

_encode = json_encoder()


def encode_members(**facts: object) -> str:
    """Return members of many lines in JSON, for `note_encoded`. None is omitted."""
    return _encode({name: value for name, value in facts.items() if value is not None})[1:-1]


class AuditEntry:
    """The members of a request's log line, added while it is handled."""

    __slots__ = ("_claimed_client_id", "_encoded", "_facts", "counted")

    def __init__(self, endpoint: str) -> None:
        self._facts: dict[str, object] = {"endpoint": endpoint}
        self._encoded = ""
        self._claimed_client_id: str | None = None
        self.counted: list[Metric] = []

    def note(self, **facts: object) -> None:
        """Add members that are safe to log. None is omitted."""
        self._facts.update(facts)

    def note_encoded(self, members: str) -> None:
        """Add members from `encode_members`, after all others."""
        self._encoded = f", {members}"

    def count(self, *metrics: Metric) -> None:
        """Count one of each metric, in addition to the request."""
        self.counted.extend(metrics)

    def claim_client(self, unverified_client_id: str) -> None:
        """Record the id that the caller sent. It may not be the id of a client."""
        self._claimed_client_id = unverified_client_id

    def recognize_client(self, client_id: str) -> None:
        """Record that the client exists."""
        self._facts["unverified_client_id"] = client_id

    def verify_client(self, client_id: str) -> None:
        """Record that the client is authenticated."""
        self._facts.pop("unverified_client_id", None)
        self._facts["client_id"] = client_id

    def to_json(self) -> str:
        """Return the line. Control characters and non-ASCII characters are escaped."""
        facts = self._facts
        if None in facts.values():
            facts = {name: value for name, value in facts.items() if value is not None}
        if self._claimed_client_id is not None and _CLIENT_FACTS.isdisjoint(facts):
            # Unknown client IDs are logged as a hash: a caller may have put a secret in that field.
            digest = sha256(self._claimed_client_id.encode("utf-8", "surrogatepass")).hexdigest()
            facts = facts | {"unknown_client_digest": digest[:_DIGEST_DIGITS]}
        return f"{_encode(facts)[:-1]}{self._encoded}}}"
