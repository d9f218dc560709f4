"""The decision on one request: a response, `Unauthorized`, or an error that is never cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from . import jws
from .cache import LRUCache
from .claims import join_scopes
from .errors import AuthorizerError, AuthorizerUnavailableError, InvalidTokenError, Reason, Unauthorized
from .metrics import DECISIONS, ERROR, REFUSALS

if TYPE_CHECKING:
    from .claims import VerifiedToken
    from .clock import Clock, Deadline
    from .event import AuthorizerEvent, PresentedToken
    from .introspection import Introspector
    from .metrics import Meter
    from .proof_of_possession import ProofOfPossession
    from .responses import ResponseWriter
    from .state_table import DenyList
    from .verifier import Verifier

Freshness = Callable[[], tuple[str, float | None]]
"""Returns the state of a key set and its age in seconds."""

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_MAX_DECISIONS = 1024


class Decision(NamedTuple):
    """The output for a token, and the beginning of the log line about it."""

    token: VerifiedToken
    output: dict[str, object]
    allows: bool
    line: str


class Authorizer:
    """Decides on the events of one API, or of several with the same rules.

    Without an introspector, opaque tokens are rejected; the same applies to the other parts. Without responses, a
    decision has the token only.
    """

    def __init__(
        self,
        verifier: Verifier,
        responses: ResponseWriter | None,
        clock: Clock,
        *,
        introspector: Introspector | None = None,
        possession: ProofOfPossession | None = None,
        deny_list: DenyList | None = None,
    ) -> None:
        self._verifier = verifier
        self._responses = responses
        self._clock = clock
        self._introspector = introspector
        self._possession = possession
        self._deny_list = deny_list
        self._decisions: LRUCache[tuple[int, str], Decision] = LRUCache(_MAX_DECISIONS)

    def authorize(self, event: AuthorizerEvent, deadline: Deadline) -> Decision:
        """Decide by the rules of this authorizer.

        The checks of an `at+jwt`, in their order:

        1. `event`: one access token, with the scheme Bearer or DPoP, and none in the query.
        2. here: the DPoP scheme needs settings that accept DPoP.
        3. `jws`: the length, three segments, the header with `alg`, `typ` and `kid`, the payload.
        4. `verifier`: a trusted `iss`, its key with this `kid` and `alg`, the signature.
        5. `claims`: not another kind of JWT, and all claims that RFC 9068 requires.
        6. `claims`: `exp`, `iat`, `nbf`, lifetime, `aud`, client, `sub`, scopes, `jti`, `cnf`.
        7. `claims`: the current time is before `exp`, and not before `nbf` and `iat`.
        8. `state_table`: the token was not revoked.
        9. `proof_of_possession`: the scheme is right for `cnf`, and the certificate or proof is valid.
        10. `responses`: the scopes become a policy or a boolean.
        11. `proof_of_possession`: the proof was not used before.

        A token that the verifier has cached skips 3 to 6. Its key must still be published.
        """
        presented = event.presented_token()
        possession = self._possession
        if presented.has_dpop_scheme and (possession is None or not possession.accepts_dpop):
            raise InvalidTokenError(Reason.SCHEME_WRONG)
        now = self._clock()
        token = self._authenticate(presented.token, now, deadline)
        try:
            return self._authorize(event, presented, token, now, deadline)
        except AuthorizerError as error:
            error.issuer = token.issuer
            raise

    def _authenticate(self, token: str, now: float, deadline: Deadline) -> VerifiedToken:
        if jws.looks_like_jws(token):
            return self._verifier.verify(token, now, deadline)
        if self._introspector is None:
            raise InvalidTokenError(Reason.OPAQUE_NOT_ACCEPTED)
        return self._introspector.introspect(token, now, deadline)

    def _authorize(
        self, event: AuthorizerEvent, presented: PresentedToken, token: VerifiedToken, now: float, deadline: Deadline
    ) -> Decision:
        """Check the revocation and the binding of a verified token, and decide."""
        if self._deny_list is not None and jws.looks_like_jws(presented.token):
            self._deny_list.check(presented.token, token.issuer, token.jti, now, deadline)
        if token.confirmation is None and not presented.has_dpop_scheme:
            return self._decision(event, token)
        if self._possession is None:
            # A Bearer request proves the possession of no key.
            raise InvalidTokenError(Reason.PROOF_REQUIRED)
        proof = self._possession.check(event, presented, token, now)
        decision = self._decision(event, token)
        if proof is not None:
            self._possession.consume(proof, now, deadline)
        return decision

    def _decision(self, event: AuthorizerEvent, token: VerifiedToken) -> Decision:
        if self._responses is None:
            return Decision(token, {}, allows=True, line="")
        # The caches of tokens return the same object. A decision refers to it, so that no other token gets its id.
        cache_key = self._responses.cache_key(event)
        key = id(token), cache_key
        decision = self._decisions.get(key)
        if decision is None or decision.token is not token:
            output, allows = self._responses.write(token, cache_key)
            line = _begin_decision_line(allows, token.issuer, token.client_id, token.key_id, token.scopes)
            decision = Decision(token, output, allows, line)
            self._decisions.put(key, decision)
        return decision


class EventAuthorizer(Protocol):
    """Decides on the token in an event: `Authorizer`, or `MultiApiAuthorizer`."""

    def authorize(self, event: AuthorizerEvent, deadline: Deadline) -> Decision:
        """Return the decision.

        Raises:
            InvalidTokenError: the request has no valid token.
            AuthorizerUnavailableError: the authorizer cannot decide.
        """


class LambdaAuthorizer:
    """Responds to API Gateway authorizer events, and logs one line per decision.

    `freshness` has an entry for each issuer's key set. The log uses the first issuer's if the request was rejected
    before its issuer was known. `preparations` are fetches that the first request would make.
    """

    def __init__(
        self,
        authorizer: EventAuthorizer,
        freshness: Mapping[str, Freshness],
        preparations: Sequence[Callable[[Deadline], object]],
        *,
        emit: Callable[[str], None],
        meter: Meter,
    ) -> None:
        self.authorizer = authorizer
        self._freshness = freshness
        self._first_issuer = next(iter(freshness))
        self.preparations = preparations
        self._emit = emit
        self._end_of_allow = meter.writer(DECISIONS)
        self._end_of_refusal = meter.writer(REFUSALS)
        self._end_of_error = meter.writer(REFUSALS, level=ERROR)

    def decide(self, event: AuthorizerEvent, deadline: Deadline) -> dict[str, object]:
        """Return the response for the token in the event, and log the decision.

        Raises:
            Unauthorized: the request has no valid token.
            AuthorizerUnavailableError: the authorizer cannot decide.
        """
        try:
            decision = self.authorizer.authorize(event, deadline)
        except InvalidTokenError as error:
            self._log_failure(event, "unauthorized", error.reason, error.issuer)
            raise Unauthorized from error
        except AuthorizerUnavailableError as error:
            self._log_failure(event, "error", error.reason, error.issuer)
            raise
        except Exception:
            self._log_failure(event, "error", Reason.UNEXPECTED, None)
            raise
        end = self._end_of_allow if decision.allows else self._end_of_refusal
        self._log(event, decision.line, decision.token.issuer, end)
        return decision.output.copy()

    def _log_failure(self, event: AuthorizerEvent, decision: str, reason: Reason, issuer: str | None) -> None:
        line = _begin_line({"decision": decision, "reason": reason})
        end = self._end_of_error if decision == "error" else self._end_of_refusal
        self._log(event, line, issuer or self._first_issuer, end)

    def _log(self, event: AuthorizerEvent, line: str, issuer: str, end: Callable[[], str]) -> None:
        """Log a decision, without any claim of an unverified token."""
        state, age = self._freshness[issuer]()
        seconds = "null" if age is None else int(age)
        request_id = _to_json(event.request_id())
        self._emit(f'{line}"key_set":"{state}","key_set_age":{seconds},"request_id":{request_id}{end()}}}')


# The tokens of one client have the same line.
@lru_cache(maxsize=1024)
def _begin_decision_line(allows: bool, issuer: str, client_id: str, key_id: str | None, scopes: frozenset[str]) -> str:
    return _begin_line(
        {
            "decision": "allow" if allows else "deny",
            "reason": None if allows else Reason.SCOPE_INSUFFICIENT,
            "iss": issuer,
            "client_id": client_id,
            "kid": key_id,
            "scope": join_scopes(scopes),
        }
    )


def _begin_line(members: Mapping[str, object]) -> str:
    """Write the members of an unfinished JSON object."""
    return _to_json(members)[:-1] + ","
