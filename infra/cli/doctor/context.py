"""The deployment that is looked at: what several checks need, fetched once."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from authorizer.settings import Settings
from functions.issue_token.grants import default_audience
from functions.shared.clients.client import Client
from functions.shared.clients.trust_rule import TrustRule
from functions.shared.keys.key_ring import KeyRing
from functions.shared.web.oauth_errors import InvalidTargetError

from ...guards import ALGORITHMS, Guard
from ..context import CommandContext, Deployment
from ..errors import CommandError, UnreachableError
from ..http_client import Response, Web
from ..key_operations import KeyAdmin
from ..local_authorizer import SHARED, LocalAuthorizer
from ..record_store import ClientTable, RuleTable, Seen

T = TypeVar("T")


class Level(StrEnum):
    """The severity. A check that was not made has not passed."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_EXAMINED = "not examined"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    level: Level
    seen: str
    to_do: str = ""


Findings = Generator[Finding, None, str]
"""Yields the findings of a check, and returns the text of `ok` if there is none."""

Look = Callable[["CheckContext"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A check. Some apply to accounts only, or with the sample API only."""

    area: str
    name: str
    look: Look
    in_account_only: bool = False
    of_sample_api: bool = False


class Checks(list[Check]):
    """The checks of a module, in the order of their functions."""

    def add(
        self, area: str, name: str, *, in_account_only: bool = False, of_sample_api: bool = False
    ) -> Callable[[Look], Look]:
        """Return a decorator that adds a function as a check."""

        def register(look: Look) -> Look:
            self.append(Check(area, name, look, in_account_only, of_sample_api))
            return look

        return register


def ok(seen: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, seen)


def warning(seen: str, to_do: str) -> Finding:
    """Return a finding about a future problem or a weakness."""
    return Finding(Level.WARNING, seen, to_do)


def failure(seen: str, to_do: str) -> Finding:
    """Return a finding about a problem."""
    return Finding(Level.FAILURE, seen, to_do)


def named(names: Iterable[str], most: int = 5) -> str:
    """Return a list of names for a sentence: the first few, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def possible_audiences(client: Client) -> frozenset[str]:
    """Return the audiences that tokens of a client can have: the default, and those that a request may name."""
    try:
        default = default_audience(client)
    except InvalidTargetError:
        default = ()
    return frozenset((*default, *client.audience, *client.allowed_resources))


@dataclass(frozen=True)
class NativeGuard:
    """A guard and an issuer that it trusts. An empty set of audiences means any."""

    guard: Guard
    name: str
    issuer: str
    audiences: frozenset[str]
    jwks_endpoint: str = ""
    algorithms: frozenset[str] = frozenset()
    """The signature algorithms of a REST API's authorizer; empty for guards without this setting."""

    def accepts(self, algorithm: str) -> bool:
        """Return whether the guard accepts tokens that are signed with an algorithm."""
        return algorithm in ALGORITHMS[self.guard] and (not self.algorithms or algorithm in self.algorithms)

    def __str__(self) -> str:
        return f"{self.name} ({self.guard})"


@dataclass(frozen=True)
class CheckContext:
    """A deployment that is examined, and the native guards of templates. Data is fetched once."""

    command: CommandContext
    given_guards: Sequence[NativeGuard] = ()
    _silent: dict[str, UnreachableError] = field(default_factory=dict)
    _web: Web = field(default_factory=Web)
    _functions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _loaded: dict[object, Any] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)

    @property
    def deployment(self) -> Deployment:
        """The addresses and names of the deployment."""
        return self.command.deployment

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.command.now()

    @cached_property
    def keys(self) -> KeyAdmin:
        """Its keys."""
        return KeyAdmin(self.command)

    @cached_property
    def ring(self) -> KeyRing:
        """Its key ring."""
        return self.keys.ring

    @cached_property
    def registered(self) -> tuple[Seen[Client], ...]:
        """The records of its clients."""
        return tuple(ClientTable.of(self.command).list())

    @cached_property
    def rules(self) -> tuple[Seen[TrustRule], ...]:
        """The records of its trust rules."""
        return tuple(RuleTable.of(self.command).list())

    @property
    def clients(self) -> tuple[Client, ...]:
        """Its clients, as far as their records can be read."""
        return tuple(seen.readable for seen in self.registered if seen.readable)

    @cached_property
    def authorizer(self) -> LocalAuthorizer:
        """The sample API's authorizer; without a sample API the shared one."""
        function = None if self.deployment.guarded_api else self.deployment.resource(SHARED)
        return LocalAuthorizer(self.command, function=function)

    @property
    def settings(self) -> Settings:
        """The authorizer's settings."""
        return self.authorizer.settings

    @property
    def cache_seconds(self) -> int:
        """The time for which API Gateway has to cache a policy: by default 300 s."""
        return int(self.deployment.parameters.get("AuthorizerCacheSeconds", 300))

    def once(self, load: Callable[["CheckContext"], T]) -> T:
        """Return what a function loads. The first check that needs it loads it."""
        if load not in self._loaded:
            self._loaded[load] = load(self)
        return self._loaded[load]  # type: ignore[no-any-return]

    def is_known(self, error: CommandError) -> bool:
        """Record an error. Return whether a check has already reported it."""
        known = error.problem in self._reported
        self._reported.add(error.problem)
        return known

    def aws(self, service: str) -> Any:
        """Return a client of an AWS service."""
        return self.command.aws.client(service)

    def items(self, service: str, operation: str, member: str, **parameters: object) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of an operation. `member` holds them in a response."""
        for page in self.aws(service).get_paginator(operation).paginate(**parameters):
            yield from page[member]

    def function(self, logical_id: str) -> Mapping[str, Any]:
        """Return the configuration of a function."""
        if logical_id not in self._functions:
            self._functions[logical_id] = self.aws("lambda").get_function_configuration(
                FunctionName=self.deployment.resource(logical_id)
            )
        return self._functions[logical_id]

    def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Return a response. A host that did not answer is not tried again.

        Raises:
            UnreachableError: there is no response.
        """
        host = urlsplit(url).netloc
        if host in self._silent:
            raise self._silent[host]
        try:
            return self._web.ask(method, url, headers, body)
        except UnreachableError as error:
            self._silent[host] = error
            raise
