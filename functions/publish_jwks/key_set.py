"""The published key set, as an answer that everyone may cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.web import public_document

if TYPE_CHECKING:
    from functions.shared.keys.key_ring import KeyRing
    from functions.shared.keys.warm_key_ring import WarmKeyRing
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.proxy_request import ProxyRequest
    from functions.shared.web.responses import ProxyResponse


@dataclass(frozen=True, slots=True)
class KeySetPublisher:
    """Answers with the keys that are published now, or that they have not changed."""

    key_ring: WarmKeyRing
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Return the key set; 304 to a caller that has it."""
        ring, now = self.key_ring.current(), self.clock()
        key_set = ring.key_set(now)
        entry.note(kids=[key["kid"] for key in key_set["keys"]])
        return public_document.answer(request, json.dumps(key_set), _max_age(ring, now))


def _max_age(ring: KeyRing, now: float) -> int:
    """Return for how many seconds the set may be kept: not beyond a change that is known of."""
    change = ring.next_change(now)
    return JWKS_MAX_AGE if change is None else min(JWKS_MAX_AGE, ceil(change - now))
