import hashlib
import re
import threading
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functions.shared.clients import client_secrets
from functions.shared.clients.client_secrets import (
    SecretVerifier,
    StoredSecret,
    WrongSecretError,
    digest_generated,
    digest_imported,
    generate_secret,
    matches_imported,
)

NOW = 1_700_000_000


class CountingScrypt:
    """A cheap scrypt that counts its calls. The real one is tested below."""

    def __init__(self) -> None:
        self.right = "right"
        self.calls = 0

    def __call__(self, secret: str, digest: str) -> bool:
        self.calls += 1
        return secret == self.right and "AAAA" not in digest


IMPORTED = StoredSecret("scrypt$16384$8$1$" + "B" * 22 + "$" + "B" * 43)
GENERATED = StoredSecret(digest_generated("right"))
OTHER = StoredSecret(digest_generated("other"))


def test_generated_secret_is_scannable_and_has_256_bits() -> None:
    secret = generate_secret()
    assert re.fullmatch(r"gh_cs_[\w-]{43}", secret)
    assert secret != generate_secret()


def test_generated_secret_is_stored_as_sha_256() -> None:
    assert digest_generated("abc") == ("sha256$ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def test_imported_secret_is_stored_as_salted_scrypt() -> None:
    digest = digest_imported("right")
    assert digest.startswith("scrypt$16384$8$1$")
    assert digest != digest_imported("right")
    assert matches_imported("right", digest)
    assert not matches_imported("Right", digest)
    assert StoredSecret(digest).is_imported


def test_scrypt_agrees_with_the_vector_of_rfc_7914_12() -> None:
    expected = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    salt, key = map(_base64, (b"SodiumChloride", bytes.fromhex(expected)))
    assert matches_imported("pleaseletmein", f"scrypt$16384$8$1${salt}${key}")


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "right",
        "sha256$abc",
        "sha256$" + "A" * 64,
        "md5$" + "a" * 64,
        "scrypt$1024$8$1$" + "B" * 22 + "$" + "B" * 43,
        "sha256$" + "a" * 64 + "\n",
    ],
)
def test_malformed_digest_is_rejected(digest: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        StoredSecret(digest)


@pytest.mark.parametrize(
    ("not_before", "expires_at", "live"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 1, None, False),
        (None, NOW + 1, True),
        (None, NOW, False),
        (None, NOW - 1, False),
        (NOW - 1, NOW + 1, True),
    ],
)
def test_secret_is_valid_between_its_times(not_before: int | None, expires_at: int | None, *, live: bool) -> None:
    secret = StoredSecret(GENERATED.digest, not_before, expires_at)
    assert secret.is_live(NOW) is live
    verifier = SecretVerifier(CountingScrypt())
    if live:
        assert verifier.verify("right", [secret], NOW) == secret
    else:
        with pytest.raises(WrongSecretError):
            verifier.verify("right", [secret], NOW)


def test_any_valid_secret_works_without_scrypt() -> None:
    scrypt = CountingScrypt()
    verifier = SecretVerifier(scrypt)
    assert verifier.verify("right", [OTHER, GENERATED], NOW) is GENERATED
    assert verifier.verify("other", [OTHER, IMPORTED], NOW) is OTHER
    assert scrypt.calls == 0


@pytest.mark.parametrize(
    "stored",
    [
        [],
        [GENERATED],
        [GENERATED, OTHER],
        [IMPORTED],
        [GENERATED, IMPORTED],
        [StoredSecret(IMPORTED.digest, expires_at=NOW)],
    ],
)
def test_failure_costs_exactly_one_scrypt(stored: list[StoredSecret]) -> None:
    scrypt = CountingScrypt()
    verifier = SecretVerifier(scrypt)
    for calls in (1, 2):
        with pytest.raises(WrongSecretError):
            verifier.verify("wrong", stored, NOW)
        assert scrypt.calls == calls


def test_imported_secret_is_verified_once_per_process() -> None:
    scrypt = CountingScrypt()
    verifier = SecretVerifier(scrypt)
    for _ in range(3):
        assert verifier.verify("right", [IMPORTED], NOW) is IMPORTED
    assert scrypt.calls == 1


def test_cached_result_is_for_one_digest() -> None:
    scrypt = CountingScrypt()
    verifier = SecretVerifier(scrypt)
    verifier.verify("right", [IMPORTED], NOW)
    replaced = StoredSecret("scrypt$16384$8$1$" + "C" * 22 + "$" + "C" * 43)
    verifier.verify("right", [replaced], NOW)
    assert scrypt.calls == 2


def test_cached_secret_expires_on_time() -> None:
    verifier = SecretVerifier(CountingScrypt())
    secret = StoredSecret(IMPORTED.digest, expires_at=NOW + 1)
    verifier.verify("right", [secret], NOW)
    with pytest.raises(WrongSecretError):
        verifier.verify("right", [secret], NOW + 1)


def test_cache_has_no_secret_or_digest() -> None:
    verifier = SecretVerifier(CountingScrypt())
    verifier.verify("right", [IMPORTED], NOW)
    (fingerprint,) = verifier._verified
    assert len(fingerprint) == 32
    other_process = SecretVerifier(CountingScrypt())
    other_process.verify("right", [IMPORTED], NOW)
    assert verifier._verified.keys() != other_process._verified.keys()


def test_cache_is_bounded() -> None:
    scrypt = CountingScrypt()
    verifier = SecretVerifier(scrypt)
    for number in range(1500):
        scrypt.right = f"right-{number}"
        verifier.verify(scrypt.right, [IMPORTED], NOW)
    assert len(verifier._verified) <= 1024


def test_parallel_derivations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each derivation takes 16 MiB: 500 concurrent requests would take 8 GiB."""
    running, seen = 0, []
    lock = threading.Lock()

    def counted(secret: bytes, **parameters: Any) -> bytes:
        nonlocal running
        with lock:
            running += 1
            seen.append(running)
        try:
            return hashlib.scrypt(secret, **parameters)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(client_secrets, "scrypt", counted)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(digest_imported, ["secret"] * 24))
    assert len(seen) == 24
    assert max(seen) == 2
