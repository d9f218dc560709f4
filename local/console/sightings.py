"""What the processes recorded about one call to the guarded API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.console.recording import credential_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Record", "Sightings", "decision_line"]

Record = dict[str, Any]
_ACCEPTED_BY_AUTHORIZERS = "application/jwk-set+json, application/json"


@dataclass(frozen=True)
class Sightings:
    """Records of both services; `auth_since` has the auth server's since the call began."""

    api: Mapping[str, Any]
    auth: Mapping[str, Any]
    auth_since: Mapping[str, Any]
    request_id: str
    authorization: str

    def asked(self) -> Record | None:
        """Return the authorizer's invocation for this request; None if there was none."""
        return _last(
            each for each in self._authorizations() if each["request_id"] == self.request_id
        )

    def remembered(self) -> Record | None:
        """Return the last invocation that gave API Gateway an answer for this token."""
        digest = credential_digest(self.authorization)
        return _last(
            each
            for each in self._authorizations()
            if each["credential"] == digest and each["result"] is not None
        )

    def called(self) -> Record | None:
        """Return the invocation of the function behind the authorizer, if it came to that."""
        return _last(
            each
            for each in self.api["invocations"]
            if each["request_id"] == self.request_id and each["event"] is None
        )

    def fetch(self) -> Record | None:
        """Return the exchange in which the authorizer asked for the key set during the call."""
        return _last(filter(_is_fetch, self.auth_since["exchanges"]))

    def introspection(self) -> Record | None:
        """Return the exchange in which the authorizer asked about an opaque token."""
        return _last(
            each
            for each in self.auth_since["exchanges"]
            if each["path"].endswith("/oauth2/introspect")
        )

    def keys(self) -> list[dict[str, str]]:
        """Return the key set that the authorizer got last."""
        fetched = (each for each in self.auth["exchanges"] if _is_fetch(each) and each["body"])
        sets = [each for each in fetched if each["status"] == 200]
        keys: list[dict[str, str]] = json.loads(sets[-1]["body"])["keys"] if sets else []
        return keys

    def _authorizations(self) -> list[Record]:
        return [each for each in self.api["invocations"] if each["event"] is not None]


def decision_line(invocation: Record) -> dict[str, Any]:
    """Return the line that the authorizer wrote about its decision, empty if it wrote none."""
    found = (_members(line) for line in reversed(invocation["lines"]))
    return next((members for members in found if "decision" in members), {})


def _members(line: str) -> dict[str, Any]:
    try:
        members = json.loads(line)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _is_fetch(exchange: Record) -> bool:
    accepted = {name.lower(): value for name, value in exchange["request_headers"].items()}
    return bool(
        exchange["path"].endswith("/oauth2/jwks")
        and accepted.get("accept") == _ACCEPTED_BY_AUTHORIZERS
    )


def _last(records: Iterable[Record]) -> Record | None:
    found = list(records)
    return found[-1] if found else None
