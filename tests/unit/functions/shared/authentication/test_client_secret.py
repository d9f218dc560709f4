import pytest

from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import SecretUseRecorder, secret_methods
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.lifetimes import DAY
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.web.oauth_errors import InvalidClientError
from tests.support.assertions import authenticate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemorySecretUses
from tests.support.proxy_events import basic, token_event
from tests.support.server import NOW, client

TODAY = NOW // DAY * DAY
OLD, NEW = (StoredSecret(digest_generated(text)) for text in ("old", "new"))


class BrokenUses(MemorySecretUses):
    """Last uses in a store that fails."""

    def record(self, client_id: str, digest: str, day: int) -> None:
        self.writes += 1
        raise StorageUnavailableError("throttled")


def use_secret(uses: SecretUseRecorder, secret: str, now: float = NOW) -> None:
    registry = MemoryClients(client("service", secrets=(OLD, NEW)))
    authentication = ClientAuthentication(registry, secret_methods(uses), ManualClock(now))
    authenticate(authentication, token_event({}, headers=basic("service", secret)))


def test_last_use_is_recorded_by_day() -> None:
    uses = MemorySecretUses()
    use_secret(SecretUseRecorder(uses), "new")
    assert uses.last_used("service", NEW.digest) == TODAY
    assert uses.last_used("service", OLD.digest) is None


def test_day_of_use_is_written_once() -> None:
    uses = MemorySecretUses()
    warm = SecretUseRecorder(uses)
    for now in (NOW, NOW + 1, TODAY + DAY - 1):
        use_secret(warm, "new", now)
    assert uses.writes == 1
    use_secret(warm, "new", TODAY + DAY)
    assert uses.writes == 2
    assert uses.last_used("service", NEW.digest) == TODAY + DAY


def test_wrong_secret_records_no_use() -> None:
    uses = MemorySecretUses()
    with pytest.raises(InvalidClientError):
        use_secret(SecretUseRecorder(uses), "wrong")
    assert uses.writes == 0


def test_unwritable_use_is_retried_once_a_day() -> None:
    uses = BrokenUses()
    warm = SecretUseRecorder(uses)
    for _ in range(3):
        use_secret(warm, "new")
    assert uses.writes == 1
