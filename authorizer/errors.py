"""What can go wrong, and what API Gateway makes of it.

AuthorizerError
├── TokenRefused            the caller's token is bad                      401
│   └── KeyIdNotLookedUp    its key id is new, and may not be fetched now
└── OwnTrouble              we cannot tell whether it is good or bad       500
    ├── KeySetUnavailable
    ├── IntrospectionFailed
    ├── StateUnavailable
    ├── RulesUnavailable
    ├── EventUnfit
    └── PolicyImpossible
Unauthorized                the one exception that API Gateway answers with 401
"""

from authorizer.reasons import Reason

# ruff: noqa: N818 - named for what happened, as callers tell it: refused, unavailable, failed


class AuthorizerError(Exception):
    """Never raised itself. `issuer` is the one whose token was judged, where we trust it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.issuer: str | None = None


class TokenRefused(AuthorizerError):
    """Raised when the request carries no token that can be trusted."""


class KeyIdNotLookedUp(TokenRefused):
    """Raised when a key id is not in the cached key set and a refetch has to wait.

    The key may exist: a caller that can answer "try again in `retry_after` seconds" should.
    """

    def __init__(self, reason: Reason, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class OwnTrouble(AuthorizerError):
    """Raised when the fault is ours or our authorization server's, so that nothing is cached."""


class KeySetUnavailable(OwnTrouble):
    """Raised when no key set is fit to judge the token by."""

    def __init__(self, reason: Reason = Reason.KEY_SET_UNAVAILABLE) -> None:
        super().__init__(reason)


class IntrospectionFailed(OwnTrouble):
    """Raised when the introspection endpoint gave no answer that can be used."""


class StateUnavailable(OwnTrouble):
    """Raised when what is to be remembered, or was, cannot be asked for."""


class RulesUnavailable(OwnTrouble):
    """Raised when nobody can tell what an API asks of a token."""


class EventUnfit(OwnTrouble):
    """Raised when an event is not of the kind that the settings are for."""


class PolicyImpossible(OwnTrouble):
    """Raised when what the token grants cannot be written as a policy."""


class Unauthorized(Exception):
    """Raised to API Gateway, which compares the message with the word `Unauthorized`."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")
