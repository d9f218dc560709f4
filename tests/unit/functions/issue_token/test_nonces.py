import pytest

from functions.issue_token.proof_of_possession import FRESH_SECONDS, MINUTES, STALE_SECONDS, DpopNonces
from functions.shared.keys.key_ring import STALE_SECONDS as RING_STALE_SECONDS
from functions.shared.storage.errors import StorageUnavailableError
from tests.support.memory_stores import ManualClock, MemorySecrets

NOW = 1_700_000_040.0  # a whole minute


def _nonces(secret: str = "n" * 64) -> DpopNonces:
    return DpopNonces(MemorySecrets(nonce=secret), "nonce", ManualClock(NOW))


@pytest.mark.parametrize(
    ("age", "accepted"),
    [(0, True), (59, True), (60 * MINUTES - 1, True), (60 * MINUTES, False), (-1, True), (-60, True), (-61, False)],
)
def test_nonce_is_valid_for_minutes(age: float, *, accepted: bool) -> None:
    nonce = _nonces().current(NOW)
    assert _nonces().accepts(nonce, NOW + age) is accepted


def test_nonce_of_another_secret_is_not_accepted() -> None:
    assert not _nonces().accepts(_nonces("other").current(NOW), NOW)


def test_nonce_changes_with_the_minute() -> None:
    nonces = _nonces()
    assert nonces.current(NOW) == nonces.current(NOW + 59.9) != nonces.current(NOW + 60)


def test_rfc9449_8_1_nonce_has_allowed_characters() -> None:
    assert set(_nonces().current(NOW)) <= {chr(code) for code in range(0x21, 0x7F)} - set('"\\')


def test_stale_nonce_secret_serves_an_outage() -> None:
    class FailingSecrets(MemorySecrets):
        fails = False

        def read(self, name: str) -> str | None:
            if self.fails:
                raise StorageUnavailableError("throttled")
            return super().read(name)

    store, clock = FailingSecrets(nonce="n" * 64), ManualClock(NOW)
    nonces = DpopNonces(store, "nonce", clock)
    nonces.current(clock.now)
    store.fails = True
    clock.now += FRESH_SECONDS + RING_STALE_SECONDS - 1
    assert nonces.accepts(nonces.current(clock.now), clock.now)
    clock.now = NOW + STALE_SECONDS
    with pytest.raises(StorageUnavailableError):
        nonces.current(clock.now)
