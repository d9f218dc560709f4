"""The decision on one request: a policy, `Unauthorized`, or a crash that nothing caches."""

import json
from collections.abc import Callable, Mapping
from time import gmtime, strftime
from typing import NamedTuple

from authorizer import jws
from authorizer.bearer import read_token
from authorizer.claims import VerifiedToken, join_scopes
from authorizer.clocks import Clock
from authorizer.errors import OwnTrouble, TokenRefused, Unauthorized
from authorizer.introspection import Introspector
from authorizer.method_arn import stage_arn
from authorizer.policy import CompiledPolicy, PolicyCompiler, write_policy
from authorizer.reasons import Reason
from authorizer.recent import Recent
from authorizer.verifier import Verifier

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_REMEMBERED_GRANTS = 1024


class _Grant(NamedTuple):
    """What one token is answered at one stage, and what the log says about it."""

    answer: dict[str, object]
    line: dict[str, object]


class Gate:
    """Decides on API Gateway authorizer events, and writes one line about each decision.

    `freshness` tells the state and the age of the key set, for that line.
    """

    def __init__(  # noqa: PLR0913 - the parts of an authorizer, each named at the call
        self,
        verifier: Verifier,
        introspector: Introspector | None,
        policies: PolicyCompiler,
        *,
        clock: Clock,
        emit: Callable[[str], None],
        freshness: Callable[[], tuple[str, float | None]],
        policy_expires: bool,
    ) -> None:
        self._verifier = verifier
        self._introspector = introspector
        self._policies = policies
        self._clock = clock
        self._emit = emit
        self._freshness = freshness
        self._policy_expires = policy_expires
        self._grants: Recent[tuple[VerifiedToken, str], _Grant] = Recent(_REMEMBERED_GRANTS)

    def decide(self, event: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Return the policy for the token in the event.

        Args:
            event: an API Gateway authorizer event.
            seconds: how long a fetch on behalf of this request may take.

        Raises:
            Unauthorized: the request carries no good token.
            OwnTrouble: we cannot tell.
        """
        try:
            token = self._authenticate(event, seconds)
            grant = self._authorize(event, token)
        except TokenRefused as refused:
            self._log(event, {"decision": "unauthorized", "reason": refused.reason})
            raise Unauthorized from refused
        except OwnTrouble as trouble:
            self._log(event, {"decision": "error", "reason": trouble.reason})
            raise
        except Exception:
            self._log(event, {"decision": "error", "reason": Reason.UNEXPECTED})
            raise
        self._log(event, grant.line)
        return grant.answer.copy()

    def _authenticate(self, event: Mapping[str, object], seconds: float) -> VerifiedToken:
        presented = read_token(event)
        now = self._clock()
        if jws.looks_like_jws(presented):
            token = self._verifier.verify(presented, now, seconds)
        elif self._introspector is not None:
            token = self._introspector.introspect(presented, now, seconds)
        else:
            raise TokenRefused(Reason.OPAQUE_NOT_ACCEPTED)
        if token.confirmation is not None:
            # Bound to a key whose possession nothing in a plain Bearer request proves.
            raise TokenRefused(Reason.PROOF_REQUIRED)
        return token

    def _authorize(self, event: Mapping[str, object], token: VerifiedToken) -> _Grant:
        stage = stage_arn(event.get("methodArn") or event.get("routeArn"))
        grant = self._grants.get((token, stage))
        if grant is None:
            grant = self._grant(token, self._policies.compile(token.scopes, stage))
            self._grants.put((token, stage), grant)
        return grant

    def _grant(self, token: VerifiedToken, policy: CompiledPolicy) -> _Grant:
        valid_until = _iso_time(token.expires_at) if self._policy_expires else None
        answer: dict[str, object] = {
            "principalId": token.subject,
            "policyDocument": write_policy(policy, valid_until),
            "context": write_context(token),
        }
        line: dict[str, object] = {
            "decision": "allow" if policy.allowed else "deny",
            "reason": None if policy.allowed else Reason.SCOPE_INSUFFICIENT,
            "client_id": token.client_id,
            "kid": token.key_id,
            "scope": join_scopes(token.scopes),
        }
        return _Grant(answer, line)

    def _log(self, event: Mapping[str, object], line: Mapping[str, object]) -> None:
        """Write the decision down. Nothing that only an unverified token says is ever logged."""
        state, age = self._freshness()
        whole = {
            **line,
            "key_set": state,
            "key_set_age": None if age is None else int(age),
            "request_id": _request_id(event),
        }
        self._emit(_to_json(whole))


def write_context(token: VerifiedToken) -> dict[str, str]:
    """Write what the backend may know of the token: flat strings, and never the token itself."""
    context = {
        "sub": token.subject,
        "client_id": token.client_id,
        "scope": join_scopes(token.scopes),
        "exp": str(int(token.expires_at)),
    }
    if token.jti is not None:
        context["jti"] = token.jti
    return context


def _iso_time(seconds: float) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))


def _request_id(event: Mapping[str, object]) -> object:
    request = event.get("requestContext")
    return request.get("requestId") if isinstance(request, dict) else None
