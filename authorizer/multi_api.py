"""One authorizer for many APIs, each with its own rules.

The rules of an API are a Systems Manager parameter with the API's ID in its name. The owner of the API declares both in
one template. An API without valid rules gets 500, never a Deny: API Gateway would cache a Deny like an Allow.

Every API has an `Authorizer` of its own. A token that is valid for the audience of one API is
therefore never accepted from the cache of another.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from .authorizer import Authorizer, Decision
from .aws import Aws, AwsError
from .cache import BackOff, CacheEntry, Jitter, Lifetime, Loaded, LRUCache, RefreshingCache
from .clock import Clocks, Deadline
from .errors import Reason, RulesUnavailableError
from .event import AuthorizerEvent
from .scope_map import ApiRules, ScopeMapError, parse_api_rules

_INVALID_RULES = Lifetime(fresh_for=5.0, stale_for=5.0)
_MAX_APIS = 64


class RulesSource(Protocol):
    """Loads the rules of APIs."""

    def read(self, api: str, deadline: Deadline) -> str | None:
        """Return the text of an API's rules, None if there are none.

        Raises:
            RulesUnavailableError: the rules cannot be read.
        """


class ParameterStore:
    """Rules in Systems Manager parameters `<path>/<API ID>`."""

    def __init__(self, path: str, aws: Aws) -> None:
        self._path = path
        self._aws = aws

    def read(self, api: str, deadline: Deadline) -> str | None:
        """Return the text of an API's rules."""
        try:
            response = self._aws.call("ssm", "GetParameter", deadline, Name=f"{self._path}/{api}")
        except AwsError as error:
            if error.code == "ParameterNotFound":
                return None
            raise RulesUnavailableError(Reason.API_RULES_UNAVAILABLE) from error
        return str(response["Parameter"]["Value"])


class _Rules(NamedTuple):
    """The text of an API's rules and their authorizer, or the reason why there is none."""

    text: str | None
    authorizer: Authorizer | Reason


class MultiApiAuthorizer:
    """Decides on the events of many APIs, by authorizers made from the rules in a source."""

    def __init__(
        self,
        source: RulesSource,
        make_authorizer: Callable[[ApiRules], Authorizer],
        clocks: Clocks,
        *,
        lifetime: Lifetime,
        jitter: Jitter,
        notice: Callable[[str], None],
    ) -> None:
        self._source = source
        self._make_authorizer = make_authorizer
        self._lifetime = lifetime
        self._notice = notice
        self._store: LRUCache[str, CacheEntry[_Rules]] = LRUCache(_MAX_APIS)
        self._cache: RefreshingCache[str, _Rules] = RefreshingCache(
            self._store,
            clocks,
            unavailable=RulesUnavailableError,
            make_error=lambda _paused: RulesUnavailableError(Reason.API_RULES_UNAVAILABLE),
            back_off=BackOff(clocks, jitter=jitter),
        )

    def authorize(self, event: AuthorizerEvent, deadline: Deadline) -> Decision:
        """Decide by the rules of the event's API.

        Raises:
            RulesUnavailableError: the API has no valid rules, or they cannot be read.
        """
        api = event.api_id()
        authorizer = self._cache.get(api, partial(self._load, api), deadline).value.authorizer
        if isinstance(authorizer, Reason):
            raise RulesUnavailableError(authorizer)
        return authorizer.authorize(event, deadline)

    def _load(self, api: str, deadline: Deadline) -> Loaded[_Rules]:
        text = self._source.read(api, deadline)
        cached = self._store.get(api)
        rules = cached.value if cached and cached.value.text == text else self._parse(api, text)
        is_invalid = isinstance(rules.authorizer, Reason)
        return Loaded(rules, _INVALID_RULES if is_invalid else self._lifetime)

    def _parse(self, api: str, text: str | None) -> _Rules:
        if text is None:
            self._notice(f"API {api} has no rules")
            return _Rules(None, Reason.API_RULES_MISSING)
        try:
            rules = parse_api_rules(text.encode("utf-8", "surrogatepass"))
        except ScopeMapError as error:
            self._notice(f"the rules of API {api} cannot be used: {error}")
            return _Rules(text, Reason.API_RULES_MALFORMED)
        if not rules.audiences:
            self._notice(f"the rules of API {api} accept tokens for any audience")
        return _Rules(text, self._make_authorizer(rules))
