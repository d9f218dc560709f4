"""Responses to API Gateway for a verified token: an IAM policy, or a boolean.

A decision may be cached only if it holds for every later request with the same cache key:

- `Authorizer` caches outputs by verified token and `cache_key`. It verifies every request first.
- `PolicyCompiler` names all routes of a stage: API Gateway applies a cached policy to each of them.
- `SimpleResponses` are about one route, so API Gateway needs the route key as an identity source.
- `AuthorizerUnavailableError` becomes a 500, because API Gateway would cache a Deny.
- `POLICY_EXPIRES` ends the Allow with the token, by a condition in the policy.
- `ReauthorizeEvery` is API Gateway's cache time. It must be 0 for bound tokens: a cached decision
  would accept requests without a proof.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from time import gmtime, strftime
from typing import NamedTuple, Protocol

from .claims import VerifiedToken, context_name, join_scopes
from .errors import InvalidTokenError, Reason
from .event import AuthorizerEvent
from .policy import PolicyCompiler, write_policy
from .routes import parse_route
from .scope_map import ScopeMap

MAX_CLAIMS_LENGTH = 2048
"""Bytes of the names and values of claims in the context. API Gateway limits the whole response."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # an API may copy the context to headers

ClientOfIssuer = tuple[str, str]
"""An issuer, and a client ID that is unique for this issuer only."""


class AuthorizerOutput(NamedTuple):
    """The output of the function, and whether it allows anything."""

    output: dict[str, object]
    allows: bool


class ResponseWriter(Protocol):
    """Writes responses of one kind."""

    def cache_key(self, event: AuthorizerEvent) -> str:
        """Return the part of the event that a response depends on, in addition to the token.

        Raises:
            AuthorizerUnavailableError: the event does not have it.
        """
        ...

    def write(self, token: VerifiedToken, cache_key: str) -> AuthorizerOutput:
        """Write the response for a token.

        Raises:
            PolicyError: the policy is larger than API Gateway accepts.
        """
        ...


class PolicyResponses:
    """Policies for a whole stage, which API Gateway may cache for the token.

    `usage_keys` are API keys by issuer and client ID. Usage plans count the requests of a key.
    Two issuers may each have a client with the same ID.
    """

    def __init__(self, policies: PolicyCompiler, usage_keys: Mapping[ClientOfIssuer, str], *, expire: bool) -> None:
        self._policies = policies
        self._usage_keys = usage_keys
        self._expire = expire

    cache_key = staticmethod(AuthorizerEvent.stage_arn)

    def write(self, token: VerifiedToken, cache_key: str) -> AuthorizerOutput:
        """Write the policy for a token at a stage."""
        policy = self._policies.compile(token.scopes, cache_key)
        valid_until = iso_time(token.expires_at) if self._expire else None
        output: dict[str, object] = {
            "principalId": token.subject,
            "policyDocument": write_policy(policy, valid_until),
            "context": write_context(token),
        }
        usage_key = self._usage_keys.get((token.issuer, token.client_id))
        if usage_key is not None:
            output["usageIdentifierKey"] = usage_key
        return AuthorizerOutput(output, allows=bool(policy.allowed))


class SimpleResponses:
    """Booleans for the one route that an HTTP API chose (payload format 2.0).

    `$context.routeKey` must be one of the identity sources if responses are cached. Otherwise the
    cached response for one route would apply to all.
    """

    def __init__(self, scope_map: ScopeMap) -> None:
        self._scope_map = scope_map

    cache_key = staticmethod(AuthorizerEvent.route_key)

    def write(self, token: VerifiedToken, cache_key: str) -> AuthorizerOutput:
        """Write whether the token opens the route. `$default` and unknown routes are closed."""
        try:
            allows = parse_route(cache_key) in self._scope_map.routes_for(token.scopes)
        except ValueError:
            allows = False
        output: dict[str, object] = {"isAuthorized": allows, "context": write_context(token)}
        return AuthorizerOutput(output, allows=allows)


def write_context(token: VerifiedToken) -> dict[str, str]:
    """Write the context for the backend: flat strings, never the token itself.

    Raises:
        InvalidTokenError: the claims of `CONTEXT_CLAIMS` are too long, or have control characters.
    """
    context = {
        "iss": token.issuer,
        "sub": token.subject,
        "client_id": token.client_id,
        "scope": join_scopes(token.scopes),
        "exp": str(int(token.expires_at)),
    }
    if token.jti is not None:
        context["jti"] = token.jti
    if token.claims:
        context |= _write_claims(token.claims)
    return context


def _write_claims(claims: Mapping[str, object]) -> dict[str, str]:
    """Write claims for the context: texts as they are, others as JSON. A REST API takes no lists and no objects."""
    context = {
        context_name(name): value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in claims.items()
    }
    if sum(len(name) + len(value.encode()) for name, value in context.items()) > MAX_CLAIMS_LENGTH:
        raise InvalidTokenError(Reason.CLAIMS_TOO_LONG)
    if any(map(_CONTROL_CHARACTER.search, context.values())):
        raise InvalidTokenError(Reason.CLAIMS_CONTROL_CHARACTER)
    return context


@lru_cache(maxsize=256)
def iso_time(seconds: float) -> str:
    """Write a time as IAM's date conditions have it."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))
