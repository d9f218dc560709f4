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
from functions.shared.web.oauth_errors import InvalidClientError, OAuthError, to_response
from tests.support.assertions import authenticate
from tests.support.memory_stores import ManualClock, MemoryClients, MemoryCounters
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
class Door:
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

    def knock(self, secret: str, client_id: str = "service", source: str = HERE) -> int:
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
        return [self.knock("wrong", client_id, source) for _ in range(times)]


@pytest.mark.parametrize("client_id", ["service", "nobody", "x" * 5000, "ä"])
def test_failures_past_the_limit_are_429(client_id: str) -> None:
    assert Door().wrong(5, client_id) == [401, 401, 401, 429, 429]


def test_block_has_retry_after() -> None:
    door = Door()
    door.clock.now += 10.5
    door.wrong(4)
    answer = to_response(door.error)
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (429, "50")
    assert json.loads(answer["body"])["error"] == "slow_down"


def test_blocked_source_costs_no_work() -> None:
    door = Door()
    door.wrong(3)
    work = door.scrypts
    assert door.knock(SECRET) == 429
    assert door.scrypts == work


def test_right_secret_from_another_source_works() -> None:
    door = Door()
    door.wrong(10)
    assert door.knock(SECRET, source=THERE) == 200


def test_other_client_of_the_source_works() -> None:
    door = Door()
    door.wrong(10)
    assert door.knock(SECRET, "second") == 200


def test_success_changes_no_counter() -> None:
    door = Door()
    for _ in range(10):
        assert door.knock(SECRET) == 200
    assert isinstance(door.counters, MemoryCounters)
    assert door.counters.counts == {}
    assert door.wrong(2) == [401, 401]
    assert door.knock(SECRET) == 200
    assert door.wrong(2) == [401, 429]


def test_new_window_starts_at_zero() -> None:
    door = Door()
    door.wrong(5)
    door.clock.now = START + 59.9
    assert door.knock(SECRET) == 429
    door.clock.now = START + 60
    assert door.knock(SECRET) == 200
    assert door.wrong(4) == [401, 401, 401, 429]


def test_counters_expire_with_their_window() -> None:
    door = Door()
    door.wrong(1)
    assert isinstance(door.counters, MemoryCounters)
    assert set(door.counters.until.values()) == {START + 60}
    assert all("service" not in name and HERE not in name for name in door.counters.counts)


def test_other_process_allows_one_more_attempt() -> None:
    door = Door()
    door.wrong(3)
    door.start_process()
    assert door.wrong(2) == [429, 429]


def test_distributed_guessing_leaves_one_attempt_per_source() -> None:
    door = Door()
    for number in range(LIMITS.per_client):
        assert door.wrong(1, source=f"198.51.100.{number}") == [401]
    assert door.wrong(3, source=THERE) == [401, 429, 429]
    assert door.knock(SECRET, source=HERE) == 200


def test_ipv6_network_is_one_source() -> None:
    door = Door()
    sources = [f"2001:db8:0:1::{number}" for number in range(1, 5)]
    assert [door.knock("wrong", source=source) for source in sources] == [401, 401, 401, 429]
    assert door.knock(SECRET, source="2001:db8:0:2::1") == 200


def test_mapped_ipv4_is_one_source() -> None:
    door = Door()
    assert door.wrong(2, source="::ffff:198.51.100.1") == [401, 401]
    assert door.wrong(2, source="198.51.100.1") == [401, 429]
    assert door.knock(SECRET, source="::ffff:198.51.100.2") == 200


def test_unparsable_source_is_used_as_is() -> None:
    assert Door().wrong(4, source="") == [401, 401, 401, 429]


def test_uncounted_failure_is_still_a_failure() -> None:
    door = Door(BrokenCounters(StorageError(reason="UpdateItem: AccessDeniedException")))
    assert set(door.wrong(10)) == {401}
    assert isinstance(door.error, InvalidClientError)
    assert json.loads(door.entry.to_json())["not_counted"] == "UpdateItem: AccessDeniedException"
    assert door.knock(SECRET) == 200


def test_throttled_source_counter_is_over_its_limit() -> None:
    door = Door(BrokenCounters())
    assert door.wrong(10) == [429] * 10
    assert door.scrypts == 1
    assert door.knock(SECRET, source=THERE) == 200
    door.clock.now += 60
    assert door.knock(SECRET) == 200


def test_throttled_counter_is_logged_as_uncounted() -> None:
    door = Door(BrokenCounters())
    door.wrong(1)
    assert json.loads(door.entry.to_json())["not_counted"] == "UpdateItem: ThrottlingException"
    assert UNCOUNTED_FAILURES in door.entry.counted


def test_throttled_client_counter_leaves_one_attempt() -> None:
    by_client = state_key("failures-by-client", "service", str(START + 60))
    door = Door(BrokenCounters(None, by_client))
    assert door.wrong(1_000)[:2] == [401, 429]
    assert door.scrypts == 1
    assert door.knock(SECRET, source=THERE) == 200


def test_source_limit_ignores_the_client_counter() -> None:
    by_client = state_key("failures-by-client", "service", str(START + 60))
    counters = BrokenCounters(None)
    counters.names = ("none of them",)
    door = Door(counters)
    assert door.wrong(3) == [401] * 3
    counters.names = (by_client,)
    door.start_process()
    assert door.wrong(1) == [429]


def test_clock_set_back_ends_a_block() -> None:
    door = Door()
    door.clock.now += 7200
    door.wrong(5)
    assert door.knock(SECRET) == 429
    door.clock.now -= 7200
    assert door.knock(SECRET) == 200
