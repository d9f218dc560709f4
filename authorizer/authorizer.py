"""The decision on one request: an answer, `Unauthorized`, or a crash that nothing caches."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from authorizer import jws
from authorizer.bearer import read_token
from authorizer.cache import LRUCache
from authorizer.claims import join_scopes
from authorizer.errors import (
    AuthorizerError,
    AuthorizerUnavailableError,
    InvalidTokenError,
    Reason,
    Unauthorized,
)
from authorizer.metrics import DECISIONS, ERROR, REFUSALS, Meter

if TYPE_CHECKING:
    from authorizer.bearer import PresentedToken
    from authorizer.claims import VerifiedToken
    from authorizer.clock import Clocks
    from authorizer.introspection import Introspector
    from authorizer.proof_of_possession import ProofOfPossession
    from authorizer.responses import ResponseWriter
    from authorizer.state_table import DenyList
    from authorizer.verifier import Verifier

# Tells the state of a key set and its age in seconds.
Freshness = Callable[[], tuple[str, float | None]]

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_REMEMBERED_DECISIONS = 1024


class Decision(NamedTuple):
    """What one token is answered at one place, and what the log's line about it is made of."""

    output: dict[str, object]
    allows: bool
    line: str
    freshness: Freshness


class Parts(NamedTuple):
    """What a gate decides with. Without an introspector there are no opaque tokens, and so on.

    `freshness` is that of each issuer's key set, for the log.
    """

    verifier: Verifier
    answers: ResponseWriter
    freshness: Mapping[str, Freshness]
    introspector: Introspector | None = None
    possession: ProofOfPossession | None = None
    deny_list: DenyList | None = None


class BaseAuthorizer(ABC):
    """Decides on API Gateway authorizer events, and writes one line about each decision.

    `freshness` is that of each issuer's key set. The first issuer's stands in the lines about
    requests that got no further than that.
    """

    def __init__(
        self,
        freshness: Mapping[str, Freshness],
        *,
        clocks: Clocks,
        emit: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        self._freshness = freshness
        self._first_issuer = next(iter(freshness))
        self._clock, self._monotonic = clocks
        self._emit = emit
        meter = meter or Meter(clock=self._clock)
        self._end_of_allow = meter.writer(DECISIONS)
        self._end_of_refusal = meter.writer(REFUSALS)
        self._end_of_error = meter.writer(REFUSALS, level=ERROR)

    def decide(self, event: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Return the answer for the token in the event.

        Args:
            event: an API Gateway authorizer event.
            seconds: how long all that is asked on behalf of this request may take.

        Raises:
            Unauthorized: the request carries no good token.
            AuthorizerUnavailableError: we cannot tell.
        """
        try:
            decision = self.judge(event, seconds)
        except InvalidTokenError as refused:
            self._log_failure(event, "unauthorized", refused.reason, refused.issuer)
            raise Unauthorized from refused
        except AuthorizerUnavailableError as trouble:
            self._log_failure(event, "error", trouble.reason, trouble.issuer)
            raise
        except Exception:
            self._log_failure(event, "error", Reason.UNEXPECTED, None)
            raise
        end = self._end_of_allow if decision.allows else self._end_of_refusal
        self._log(event, decision.line, decision.freshness, end)
        return decision.output.copy()

    @abstractmethod
    def judge(self, event: Mapping[str, object], seconds: float) -> Decision:
        """Decide on the token in the event; writes no line.

        Raises:
            InvalidTokenError: the request carries no good token.
            AuthorizerUnavailableError: we cannot tell.
        """

    def _left(self, deadline: float) -> float:
        """Return how many seconds are left until then, on the clock that nobody sets."""
        return max(0.0, deadline - self._monotonic())

    def _log_failure(
        self, event: Mapping[str, object], decision: str, reason: Reason, issuer: str | None
    ) -> None:
        line = _begin_line({"decision": decision, "reason": reason})
        end = self._end_of_error if decision == "error" else self._end_of_refusal
        self._log(event, line, self._freshness[issuer or self._first_issuer], end)

    def _log(
        self,
        event: Mapping[str, object],
        line: str,
        freshness: Freshness,
        end: Callable[[], str],
    ) -> None:
        """Write the decision down. Nothing that only an unverified token says is ever logged."""
        state, age = freshness()
        seconds = "null" if age is None else int(age)
        request_id = _to_json(_request_id(event))
        self._emit(
            f'{line}"key_set":"{state}","key_set_age":{seconds},"request_id":{request_id}{end()}}}'
        )


class Authorizer(BaseAuthorizer):
    """Decides on the events of one API, or of several that share its rules."""

    def __init__(
        self,
        parts: Parts,
        *,
        clocks: Clocks,
        emit: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        super().__init__(parts.freshness, clocks=clocks, emit=emit, meter=meter)
        self._verifier = parts.verifier
        self._introspector = parts.introspector
        self._possession = parts.possession
        self._deny_list = parts.deny_list
        self._answers = parts.answers
        self._decisions: LRUCache[tuple[VerifiedToken, str], Decision] = LRUCache(
            _REMEMBERED_DECISIONS
        )

    def judge(self, event: Mapping[str, object], seconds: float) -> Decision:
        """Judge the event by the rules of this gate."""
        presented = read_token(event)
        possession = self._possession
        if presented.with_proof and (possession is None or not possession.takes_proofs):
            raise InvalidTokenError(Reason.SCHEME_WRONG)
        now, deadline = self._clock(), self._monotonic() + seconds
        token = self._authenticate(presented, now, seconds)
        try:
            return self._admit(event, presented, token, now, deadline)
        except AuthorizerError as error:
            error.issuer = token.issuer
            raise

    def _admit(
        self,
        event: Mapping[str, object],
        presented: PresentedToken,
        token: VerifiedToken,
        now: float,
        deadline: float,
    ) -> Decision:
        """Decide what a verified token opens, once its revocation and its binding are looked at."""
        if self._deny_list is not None and jws.looks_like_jws(presented.token):
            left = self._left(deadline)
            self._deny_list.check(presented.token, token.issuer, token.jti, now, left)
        if token.confirmation is None and not presented.with_proof:
            return self._decision(event, token)
        possession = self._possession
        if possession is None:
            # Bound to a key whose possession nothing in a plain Bearer request proves.
            raise InvalidTokenError(Reason.PROOF_REQUIRED)
        proof = possession.check(event, presented, token, now)
        decision = self._decision(event, token)
        if proof is not None:
            possession.use(proof, now, self._left(deadline))
        return decision

    def _authenticate(self, presented: PresentedToken, now: float, seconds: float) -> VerifiedToken:
        text = presented.token
        if not jws.looks_like_jws(text):
            if self._introspector is None:
                raise InvalidTokenError(Reason.OPAQUE_NOT_ACCEPTED)
            return self._introspector.introspect(text, now, seconds)
        return self._verifier.verify(text, now, seconds)

    def _decision(self, event: Mapping[str, object], token: VerifiedToken) -> Decision:
        place = self._answers.place(event)
        decision = self._decisions.get((token, place))
        if decision is None:
            decision = self._decide_anew(token, place)
            self._decisions.put((token, place), decision)
        return decision

    def _decide_anew(self, token: VerifiedToken, place: str) -> Decision:
        output, allows = self._answers.write(token, place)
        line = _begin_decision_line(
            allows, token.issuer, token.client_id, token.key_id, token.scopes
        )
        return Decision(output, allows, line, self._freshness[token.issuer])


# The tokens of one client differ in what the line does not say.
@lru_cache(maxsize=1024)
def _begin_decision_line(
    allows: bool,  # noqa: FBT001 - a part of the cache's key
    issuer: str,
    client_id: str,
    key_id: str | None,
    scopes: frozenset[str],
) -> str:
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
    """Write members of a JSON object that goes on with others."""
    return _to_json(members)[:-1] + ","


def _request_id(event: Mapping[str, object]) -> object:
    request = event.get("requestContext")
    return request.get("requestId") if isinstance(request, dict) else None
