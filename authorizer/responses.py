"""What API Gateway is told about a verified token: an IAM policy, or a plain yes or no."""

from collections.abc import Mapping
from functools import lru_cache
from time import gmtime, strftime
from typing import NamedTuple, Protocol

from authorizer import request
from authorizer.claims import VerifiedToken, join_scopes
from authorizer.policy import PolicyCompiler, write_policy
from authorizer.routes import parse_route
from authorizer.scope_map import ScopeMap

ClientOfIssuer = tuple[str, str]
"""An issuer, and a client id that is unique for this issuer only."""


class Answer(NamedTuple):
    """An authorizer's output, and whether it opens anything."""

    output: dict[str, object]
    allows: bool


class ResponseWriter(Protocol):
    """Writes answers of one kind."""

    def place(self, event: Mapping[str, object]) -> str:
        """Return what an answer depends on beside the token.

        Raises:
            AuthorizerUnavailableError: the event is not of a kind that can be answered.
        """
        ...

    def write(self, token: VerifiedToken, place: str) -> Answer:
        """Write the answer for a token at such a place.

        Raises:
            PolicyError: it is larger than API Gateway takes.
        """
        ...


class PolicyResponses:
    """Answers with a policy for a whole stage, which API Gateway may keep for the token.

    `usage_keys` are API keys by issuer and client id: a usage plan counts a client's requests by
    its key, and two issuers may each have a client of the same id.
    """

    def __init__(
        self, policies: PolicyCompiler, usage_keys: Mapping[ClientOfIssuer, str], *, expire: bool
    ) -> None:
        self._policies = policies
        self._usage_keys = usage_keys
        self._expire = expire

    place = staticmethod(request.stage)

    def write(self, token: VerifiedToken, place: str) -> Answer:
        """Write the policy for a token at a stage."""
        policy = self._policies.compile(token.scopes, place)
        valid_until = _iso_time(token.expires_at) if self._expire else None
        output: dict[str, object] = {
            "principalId": token.subject,
            "policyDocument": write_policy(policy, valid_until),
            "context": write_context(token),
        }
        usage_key = self._usage_keys.get((token.issuer, token.client_id))
        if usage_key is not None:
            output["usageIdentifierKey"] = usage_key
        return Answer(output, allows=bool(policy.allowed))


class SimpleResponses:
    """Answers yes or no about the one route that an HTTP API chose (payload format 2.0).

    Where such an answer is kept for the token alone it holds for every route: `$context.routeKey`
    has to be among the identity sources then.
    """

    def __init__(self, scope_map: ScopeMap) -> None:
        self._scope_map = scope_map

    def place(self, event: Mapping[str, object]) -> str:
        """Return the route."""
        return request.route_key(event)

    def write(self, token: VerifiedToken, place: str) -> Answer:
        """Write whether the token opens the route; `$default` and what nobody knows stay closed."""
        try:
            allows = parse_route(place) in self._scope_map.routes_for(token.scopes)
        except ValueError:
            allows = False
        return Answer({"isAuthorized": allows, "context": write_context(token)}, allows=allows)


def write_context(token: VerifiedToken) -> dict[str, str]:
    """Write what the backend may know of the token: flat strings, and never the token itself."""
    context = {
        "iss": token.issuer,
        "sub": token.subject,
        "client_id": token.client_id,
        "scope": join_scopes(token.scopes),
        "exp": str(int(token.expires_at)),
    }
    if token.jti is not None:
        context["jti"] = token.jti
    return context


@lru_cache(maxsize=256)
def _iso_time(seconds: float) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))
