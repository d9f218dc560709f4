import json
from dataclasses import dataclass, field

import pytest

from authorizer.state_table import state_key
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import ClientSecretBasic
from functions.shared.authentication.rate_limit import FailureLimiter, Limits
from functions.shared.clients.client_secrets import SecretVerifier
from functions.shared.metrics import UNCOUNTED_FAILURES
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from functions.shared.storage.state_table import Counters
from functions.shared.web.audit import AuditEntry
from functions.shared.web.endpoint import to_response
from functions.shared.web.oauth_errors import InvalidClientError, OAuthError
from tests.support.assertions import authenticate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemoryCounters
from tests.support.proxy_events import basic, token_event
from tests.support.server import SECRET, client

LIMITS = Limits(window=60, per_source=3, per_client=5)
START = 1_700_000_040  # a window begins
HERE, THERE = "192.0.2.1", "192.0.2.2"


class BrokenCounters(Counters):
    """Counters whose writes fail, all of them or some."""

    def __init__(self, error: StorageError | None = None, *names: str) -> None:
        self.error = error or StorageUnavailableError(reason="UpdateItem: ThrottlingException")
        self.names = names
        self.counters = MemoryCounters()

    def increment(self, key: str, expires_at: int) -> int:
        if not self.names or key in self.names:
            raise self.error
        return self.counters.increment(key, expires_at)


@dataclass
class LimitedEndpoint:
    """Processes with shared counters; each caches its own blocked sources."""

    counters: MemoryCounters | BrokenCounters = field(default_factory=MemoryCounters)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    scrypts: int = 0

    def __post_init__(self) -> None:
        self.start_process()

    def start_process(self) -> None:
        methods = (ClientSecretBasic(SecretVerifier(self._scrypt)),)
        throttle = FailureLimiter(self.counters, LIMITS)
        registry = MemoryClients(client("service"), client("second"))
        self.authentication = ClientAuthentication(registry, methods, self.clock, throttle)

    def _scrypt(self, secret: str, digest: str) -> bool:
        self.scrypts += 1
        return False

    def authenticate_with(self, secret: str, client_id: str = "service", source: str = HERE) -> int:
        """Return the status of the response."""
        event = token_event({}, headers=basic(client_id, secret))
        event["requestContext"]["identity"]["sourceIp"] = source
        self.entry = AuditEntry("issue_token")
        try:
            authenticate(self.authentication, event, self.entry)
        except OAuthError as error:
            self.error = error
            return error.status
        return 200

    def wrong(self, times: int, client_id: str = "service", source: str = HERE) -> list[int]:
        return [self.authenticate_with("wrong", client_id, source) for _ in range(times)]


@pytest.mark.parametrize("client_id", ["service", "absent", "x" * 5000, "ä"])
def test_failures_past_the_limit_are_429(client_id: str) -> None:
    assert LimitedEndpoint().wrong(5, client_id) == [401, 401, 401, 429, 429]


def test_block_has_retry_after() -> None:
    endpoint = LimitedEndpoint()
    endpoint.clock.now += 10.5
    endpoint.wrong(4)
    answer = to_response(endpoint.error)
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (429, "50")
    assert json.loads(answer["body"])["error"] == "slow_down"


def test_blocked_source_costs_no_work() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(3)
    work = endpoint.scrypts
    assert endpoint.authenticate_with(SECRET) == 429
    assert endpoint.scrypts == work


def test_right_secret_from_another_source_works() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(10)
    assert endpoint.authenticate_with(SECRET, source=THERE) == 200


def test_other_client_of_the_source_works() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(10)
    assert endpoint.authenticate_with(SECRET, "second") == 200


def test_success_changes_no_counter() -> None:
    endpoint = LimitedEndpoint()
    for _ in range(10):
        assert endpoint.authenticate_with(SECRET) == 200
    assert isinstance(endpoint.counters, MemoryCounters)
    assert endpoint.counters.counts == {}
    assert endpoint.wrong(2) == [401, 401]
    assert endpoint.authenticate_with(SECRET) == 200
    assert endpoint.wrong(2) == [401, 429]


def test_new_window_starts_at_zero() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(5)
    endpoint.clock.now = START + 59.9
    assert endpoint.authenticate_with(SECRET) == 429
    endpoint.clock.now = START + 60
    assert endpoint.authenticate_with(SECRET) == 200
    assert endpoint.wrong(4) == [401, 401, 401, 429]


def test_counters_expire_with_their_window() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(1)
    assert isinstance(endpoint.counters, MemoryCounters)
    assert set(endpoint.counters.until.values()) == {START + 60}
    assert all("service" not in name and HERE not in name for name in endpoint.counters.counts)


def test_other_process_allows_one_more_attempt() -> None:
    endpoint = LimitedEndpoint()
    endpoint.wrong(3)
    endpoint.start_process()
    assert endpoint.wrong(2) == [429, 429]


def test_distributed_guessing_leaves_one_attempt_per_source() -> None:
    endpoint = LimitedEndpoint()
    for number in range(LIMITS.per_client):
        assert endpoint.wrong(1, source=f"198.51.100.{number}") == [401]
    assert endpoint.wrong(3, source=THERE) == [401, 429, 429]
    assert endpoint.authenticate_with(SECRET, source=HERE) == 200


def test_ipv6_network_is_one_source() -> None:
    endpoint = LimitedEndpoint()
    sources = [f"2001:db8:0:1::{number}" for number in range(1, 5)]
    assert [endpoint.authenticate_with("wrong", source=source) for source in sources] == [401, 401, 401, 429]
    assert endpoint.authenticate_with(SECRET, source="2001:db8:0:2::1") == 200


def test_mapped_ipv4_is_one_source() -> None:
    endpoint = LimitedEndpoint()
    assert endpoint.wrong(2, source="::ffff:198.51.100.1") == [401, 401]
    assert endpoint.wrong(2, source="198.51.100.1") == [401, 429]
    assert endpoint.authenticate_with(SECRET, source="::ffff:198.51.100.2") == 200


def test_unparsable_source_is_used_as_is() -> None:
    assert LimitedEndpoint().wrong(4, source="") == [401, 401, 401, 429]


def test_uncounted_failure_is_still_a_failure() -> None:
    endpoint = LimitedEndpoint(BrokenCounters(StorageError(reason="UpdateItem: AccessDeniedException")))
    assert set(endpoint.wrong(10)) == {401}
    assert isinstance(endpoint.error, InvalidClientError)
    assert json.loads(endpoint.entry.to_json())["not_counted"] == "UpdateItem: AccessDeniedException"
    assert endpoint.authenticate_with(SECRET) == 200


def test_throttled_source_counter_is_over_its_limit() -> None:
    endpoint = LimitedEndpoint(BrokenCounters())
    assert endpoint.wrong(10) == [429] * 10
    assert endpoint.scrypts == 1
    assert endpoint.authenticate_with(SECRET, source=THERE) == 200
    endpoint.clock.now += 60
    assert endpoint.authenticate_with(SECRET) == 200


def test_throttled_counter_is_logged_as_uncounted() -> None:
    endpoint = LimitedEndpoint(BrokenCounters())
    endpoint.wrong(1)
    assert json.loads(endpoint.entry.to_json())["not_counted"] == "UpdateItem: ThrottlingException"
    assert UNCOUNTED_FAILURES in endpoint.entry.counted


def test_throttled_client_counter_leaves_one_attempt() -> None:
    by_client = state_key("failures-by-client", "service", str(START + 60))
    endpoint = LimitedEndpoint(BrokenCounters(None, by_client))
    assert endpoint.wrong(1_000)[:2] == [401, 429]
    assert endpoint.scrypts == 1
    assert endpoint.authenticate_with(SECRET, source=THERE) == 200


def test_source_limit_ignores_the_client_counter() -> None:
    by_client = state_key("failures-by-client", "service", str(START + 60))
    counters = BrokenCounters(None)
    counters.names = ("none of them",)
    endpoint = LimitedEndpoint(counters)
    assert endpoint.wrong(3) == [401] * 3
    counters.names = (by_client,)
    endpoint.start_process()
    assert endpoint.wrong(1) == [429]


def test_clock_set_back_ends_a_block() -> None:
    endpoint = LimitedEndpoint()
    endpoint.clock.now += 7200
    endpoint.wrong(5)
    assert endpoint.authenticate_with(SECRET) == 429
    endpoint.clock.now -= 7200
    assert endpoint.authenticate_with(SECRET) == 200
