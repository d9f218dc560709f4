"""The published key set, as an answer that everyone may cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from functions.shared.key_ring import JWKS_MAX_AGE
from functions.shared.responses import ProxyResponse, response

if TYPE_CHECKING:
    from functions.shared.audit_log import AuditEntry
    from functions.shared.clock import Clock
    from functions.shared.proxy_request import ProxyRequest
    from functions.shared.warm_key_ring import WarmKeyRing

_OK: Final = 200
_NOT_MODIFIED: Final = 304


@dataclass(frozen=True, slots=True)
class KeySetPublisher:
    """Answers with the keys that are published now, or that they have not changed."""

    key_ring: WarmKeyRing
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Return the key set; 304 to a caller that has it. RFC 9110, 13.1.2."""
        key_set = self.key_ring.current().key_set(self.clock())
        entry.note(kids=[key["kid"] for key in key_set["keys"]])
        body = json.dumps(key_set)
        headers = {
            "ETag": _entity_tag(body),
            "Cache-Control": f"public, max-age={JWKS_MAX_AGE}",
            "Access-Control-Allow-Origin": "*",
        }
        if _is_current(headers["ETag"], request.headers.get("if-none-match", ())):
            return response(_NOT_MODIFIED, "", headers)
        return response(_OK, body, {"Content-Type": "application/json", **headers})


def _entity_tag(body: str) -> str:
    return f'"{sha256(body.encode()).hexdigest()[:32]}"'


def _is_current(entity_tag: str, if_none_match: tuple[str, ...]) -> bool:
    known = [tag.strip().removeprefix("W/") for line in if_none_match for tag in line.split(",")]
    return entity_tag in known or "*" in known
