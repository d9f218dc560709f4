"""The key ring: the keys that are published, and the key that signs, at a given time.

It contains public information only. Times are stored, not derived from a key's age. A changed
setting therefore does not change the times of a key in use. Processes cache it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from authorizer.errors import InvalidTokenError
from authorizer.jwk_thumbprint import PUBLIC_MEMBERS, thumbprint

from ..lambda_function import Clock
from ..metrics import UNUSABLE_KEY_RINGS
from ..storage.errors import StorageError, StorageUnavailableError
from ..storage.secrets_manager import SecretStore
from ..storage.storage_cache import StorageCache

VERSION = 1
JWKS_MAX_AGE = 300
"""Cache lifetime of the JWK Set in seconds. Rotation waits at least that long."""

IN_SECRETS_MANAGER = "secrets-manager"
"""The `signer` and the backend of a key whose private key is in the signing keys secret."""

IN_KMS = "kms"
"""The backend of a key whose `signer` is the ARN of a KMS key."""


class UnusableKeyRingError(StorageError):
    """Raised when there is no key ring, it cannot be read, or none of its keys may sign now."""

    metrics = (UNUSABLE_KEY_RINGS,)


@contextmanager
def key_errors() -> Iterator[None]:
    """Attribute errors that a retry does not solve to the keys.

    Raises:
        UnusableKeyRingError: in place of any other StorageError, with the same reason and cause.
    """
    try:
        yield
    except (StorageUnavailableError, UnusableKeyRingError):
        raise
    except StorageError as error:
        unusable = UnusableKeyRingError(error.reason, failure=error.failure)
        raise unusable from error.__cause__ or error


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """A key and its times, in seconds since the epoch. None: no end is set yet.

    It is published while `publish_from <= now < publish_until`, and signs while `sign_from <= now <
    sign_until`. `signer` locates the private key.
    """

    kid: str
    alg: str
    public_jwk: Mapping[str, str]
    publish_from: int
    sign_from: int
    sign_until: int | None = None
    publish_until: int | None = None
    signer: str = IN_SECRETS_MANAGER

    def __post_init__(self) -> None:
        if self.kid != thumbprint(self.public_jwk):
            raise ValueError("A key's id must be its thumbprint.")

    @property
    def backend(self) -> str:
        """The backend that has its private key."""
        return IN_SECRETS_MANAGER if self.signer == IN_SECRETS_MANAGER else IN_KMS

    def is_published(self, now: float) -> bool:
        """Return whether it is published at `now`."""
        return _within(self.publish_from, now, self.publish_until)

    def may_sign(self, now: float) -> bool:
        """Return whether it may sign at `now`. An unpublished key may not."""
        return self.is_published(now) and _within(self.sign_from, now, self.sign_until)

    def to_jwk(self) -> dict[str, str]:
        """Return the key as RFC 7517 publishes it: public members only, picked by name."""
        members = public_members(self.public_jwk)
        kty = members.pop("kty")
        return {"kty": kty, "kid": self.kid, "use": "sig", "alg": self.alg, **members}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys: upcoming, current and retired."""

    keys: tuple[RingKey, ...]

    def published_keys(self, now: float) -> tuple[RingKey, ...]:
        """Return the keys that are published at `now`."""
        return tuple(key for key in self.keys if key.is_published(now))

    def next_change(self, now: float) -> int | None:
        """Return when the published set changes next; None if no change is planned."""
        times = (time for key in self.keys for time in (key.publish_from, key.publish_until))
        return min((time for time in times if time is not None and time > now), default=None)

    def signing_key(self, now: float, alg: str) -> RingKey:
        """Return the key that signs at `now`: the latest of those that may.

        A key with the other name of Ed25519 signs if none has this name.

        Raises:
            UnusableKeyRingError: none may.
        """
        able = [key for key in self.keys if key.may_sign(now)]
        due = [key for key in able if key.alg == alg] or [key for key in able if same_algorithm(key.alg, alg)]
        if not due:
            raise UnusableKeyRingError(reason=f"no {alg} key in the ring may sign now")
        return due[0] if len(due) == 1 else max(due, key=lambda key: (key.sign_from, key.kid))

    def key_set(self, now: float) -> dict[str, list[dict[str, str]]]:
        """Return the JWK Set that is published at `now`. RFC 7517, 5."""
        return {"keys": [key.to_jwk() for key in self.published_keys(now)]}


def same_algorithm(one: str, other: str) -> bool:
    """Return whether two names are the same algorithm: `EdDSA` (RFC 8037) is the older name of `Ed25519` (RFC 9864)."""
    names = ("EdDSA", "Ed25519")
    return one == other or (one in names and other in names)


def public_members(jwk: Mapping[str, str]) -> dict[str, str]:
    """Return the members of a public key, selected by name to exclude private ones."""
    return {name: jwk[name] for name in ("kty", *PUBLIC_MEMBERS[jwk["kty"]])}


def to_json(ring: KeyRing) -> str:
    """Return the secret for a key ring."""
    return json.dumps({"version": VERSION, "keys": [_key_to_record(key) for key in ring.keys]})


def from_json(text: str | None) -> KeyRing:
    """Read the secret of a key ring.

    Raises:
        UnusableKeyRingError: there is none, or it is malformed or of another version.
    """
    if text is None:
        raise UnusableKeyRingError(reason="there is no key ring yet: rotate_keys makes one")
    try:
        return _ring_from_document(json.loads(text))
    except (InvalidTokenError, KeyError, TypeError, ValueError) as error:
        raise UnusableKeyRingError(reason=f"the key ring is malformed: {error}") from error


def _ring_from_document(document: Mapping[str, Any]) -> KeyRing:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}, this code reads {VERSION}")
    return KeyRing(tuple(_key_from_record(record) for record in document["keys"]))


def _within(start: int, now: float, end: int | None) -> bool:
    return start <= now and (end is None or now < end)


def _key_to_record(key: RingKey) -> dict[str, object]:
    return {
        "kid": key.kid,
        "alg": key.alg,
        "public_jwk": dict(key.public_jwk),
        "publish_from": key.publish_from,
        "sign_from": key.sign_from,
        "sign_until": key.sign_until,
        "publish_until": key.publish_until,
        "signer": key.signer,
    }


def _key_from_record(record: Mapping[str, Any]) -> RingKey:
    return RingKey(
        kid=record["kid"],
        alg=record["alg"],
        public_jwk=public_members(record["public_jwk"]),
        publish_from=_time(record["publish_from"]),
        sign_from=_time(record["sign_from"]),
        sign_until=_end(record["sign_until"]),
        publish_until=_end(record["publish_until"]),
        signer=record["signer"],
    )


def _time(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a time is a whole number of seconds")
    return value


def _end(value: object) -> int | None:
    return None if value is None else _time(value)


FRESH_SECONDS = 30
"""Cache lifetime, and the time in which all processes use a written key ring."""

STALE_SECONDS = 300
"""The same during an outage of Secrets Manager. Rotation depends on it."""


class CachedKeyRing:
    """Reads the key ring from its secret, at most once in 30 seconds.

    While Secrets Manager is unavailable, a key ring is used until it is five minutes old. It is
    discarded when the secret is empty or malformed, or access is denied.
    """

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._rings: StorageCache[str, KeyRing] = StorageCache(
            lambda name: _read(store, name),
            clock=clock,
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=1,
        )

    def current(self) -> KeyRing:
        """Return the key ring, up to 30 seconds old, or 5 minutes during an outage.

        Raises:
            UnusableKeyRingError: there is none, or it cannot be read.
            StorageUnavailableError: Secrets Manager is unavailable, and no key ring is cached.
        """
        return self._rings.get(self._secret)

    def signing_key(self, now: float, alg: str) -> RingKey:
        """Return the key that signs at `now`. The key ring is reloaded if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`; or no key may sign.
        """
        ring = self.current()
        try:
            return ring.signing_key(now, alg)
        except UnusableKeyRingError:
            return self._reloaded(now).signing_key(now, alg)

    def published_key(self, kid: str, now: float) -> RingKey | None:
        """Return the published key with this `kid`. The key ring is reloaded if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`.
        """
        return _published(self.current(), kid, now) or _published(self._reloaded(now), kid, now)

    def _reloaded(self, since: float) -> KeyRing:
        """Return the key ring, reloaded at most once a second unless it was loaded after `since`."""
        return self._rings.reload(self._secret, since)


def _published(ring: KeyRing, kid: str, now: float) -> RingKey | None:
    return next((key for key in ring.published_keys(now) if key.kid == kid), None)


def _read(store: SecretStore, name: str) -> KeyRing:
    with key_errors():
        return from_json(store.read(name))
