"""The decision on one request: an answer, `Unauthorized`, or a crash that nothing caches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from authorizer import jws
from authorizer.bearer import read_token
from authorizer.claims import join_scopes
from authorizer.errors import OwnTrouble, TokenRefused, Unauthorized
from authorizer.reasons import Reason
from authorizer.recent import Recent

if TYPE_CHECKING:
    from authorizer.answers import Answers
    from authorizer.bearer import Presented
    from authorizer.claims import VerifiedToken
    from authorizer.clocks import Clock
    from authorizer.deny_list import DenyList
    from authorizer.introspection import Introspector
    from authorizer.possession import Possession
    from authorizer.verifier import Verifier

# Tells the state of a key set and its age in seconds.
Freshness = Callable[[], tuple[str, float | None]]

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_REMEMBERED_GRANTS = 1024


class _Grant(NamedTuple):
    """What one token is answered at one place, and what the log's line about it is made of."""

    output: dict[str, object]
    line: str
    freshness: Freshness


class Parts(NamedTuple):
    """What a gate decides with. Without an introspector there are no opaque tokens, and so on.

    `freshness` is that of each issuer's key set, for the log; the first issuer's stands there for
    tokens that are refused.
    """

    verifier: Verifier
    answers: Answers
    freshness: Mapping[str, Freshness]
    introspector: Introspector | None = None
    possession: Possession | None = None
    deny_list: DenyList | None = None


class Gate:
    """Decides on API Gateway authorizer events, and writes one line about each decision."""

    def __init__(self, parts: Parts, *, clock: Clock, emit: Callable[[str], None]) -> None:
        self._verifier = parts.verifier
        self._introspector = parts.introspector
        self._possession = parts.possession
        self._deny_list = parts.deny_list
        self._answers = parts.answers
        self._freshness = parts.freshness
        self._first_freshness = next(iter(parts.freshness.values()))
        self._clock = clock
        self._emit = emit
        self._grants: Recent[tuple[VerifiedToken, str], _Grant] = Recent(_REMEMBERED_GRANTS)

    def decide(self, event: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Return the answer for the token in the event.

        Args:
            event: an API Gateway authorizer event.
            seconds: how long all that is asked on behalf of this request may take.

        Raises:
            Unauthorized: the request carries no good token.
            OwnTrouble: we cannot tell.
        """
        try:
            grant = self._decide(event, seconds)
        except TokenRefused as refused:
            self._log_failure(event, "unauthorized", refused.reason)
            raise Unauthorized from refused
        except OwnTrouble as trouble:
            self._log_failure(event, "error", trouble.reason)
            raise
        except Exception:
            self._log_failure(event, "error", Reason.UNEXPECTED)
            raise
        self._log(event, grant.line, grant.freshness)
        return grant.output.copy()

    def _decide(self, event: Mapping[str, object], seconds: float) -> _Grant:
        presented = read_token(event)
        possession = self._possession
        if presented.with_proof and (possession is None or not possession.takes_proofs):
            raise TokenRefused(Reason.SCHEME_WRONG)
        now = self._clock()
        token = self._authenticate(presented, now, seconds)
        if token.confirmation is None and not presented.with_proof:
            return self._grant(event, token)
        if possession is None:
            # Bound to a key whose possession nothing in a plain Bearer request proves.
            raise TokenRefused(Reason.PROOF_REQUIRED)
        proof = possession.check(event, presented, token, now)
        grant = self._grant(event, token)
        if proof is not None:
            possession.use(proof, now, self._left(seconds, now))
        return grant

    def _authenticate(self, presented: Presented, now: float, seconds: float) -> VerifiedToken:
        text = presented.token
        if not jws.looks_like_jws(text):
            if self._introspector is None:
                raise TokenRefused(Reason.OPAQUE_NOT_ACCEPTED)
            return self._introspector.introspect(text, now, seconds)
        token = self._verifier.verify(text, now, seconds)
        if self._deny_list is not None:
            left = self._left(seconds, now)
            self._deny_list.check(text, token.issuer, token.jti, now, left)
        return token

    def _left(self, seconds: float, started: float) -> float:
        return max(0.0, seconds - (self._clock() - started))

    def _grant(self, event: Mapping[str, object], token: VerifiedToken) -> _Grant:
        place = self._answers.place(event)
        grant = self._grants.get((token, place))
        if grant is None:
            grant = self._grant_anew(token, place)
            self._grants.put((token, place), grant)
        return grant

    def _grant_anew(self, token: VerifiedToken, place: str) -> _Grant:
        output, allows = self._answers.write(token, place)
        line = _begin_grant_line(allows, token.client_id, token.key_id, token.scopes)
        return _Grant(output, line, self._freshness[token.issuer])

    def _log_failure(self, event: Mapping[str, object], decision: str, reason: Reason) -> None:
        line = _begin_line({"decision": decision, "reason": reason})
        self._log(event, line, self._first_freshness)

    def _log(self, event: Mapping[str, object], line: str, freshness: Freshness) -> None:
        """Write the decision down. Nothing that only an unverified token says is ever logged."""
        state, age = freshness()
        rest = {
            "key_set": state,
            "key_set_age": None if age is None else int(age),
            "request_id": _request_id(event),
        }
        self._emit(line + _to_json(rest)[1:])


# The tokens of one client differ in what the line does not say.
@lru_cache(maxsize=1024)
def _begin_grant_line(
    allows: bool,  # noqa: FBT001 - a part of the cache's key
    client_id: str,
    key_id: str | None,
    scopes: frozenset[str],
) -> str:
    return _begin_line(
        {
            "decision": "allow" if allows else "deny",
            "reason": None if allows else Reason.SCOPE_INSUFFICIENT,
            "client_id": client_id,
            "kid": key_id,
            "scope": join_scopes(scopes),
        }
    )


def _begin_line(members: Mapping[str, object]) -> str:
    """Write members of a JSON object that goes on with others."""
    return _to_json(members)[:-1] + ","


def _request_id(event: Mapping[str, object]) -> object:
    request = event.get("requestContext")
    return request.get("requestId") if isinstance(request, dict) else None
