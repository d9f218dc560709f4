"""Operations on signing keys: planned and emergency rotation, retirement and revocation.

A planned operation breaks nothing and is rejected if it would. An emergency operation reports first
what it breaks. Both write the key ring on condition that it is unchanged, as the rotator does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from functions.rotate_keys.handler import Settings
from functions.rotate_keys.key_backends import KeyBackend, KmsKeys, SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.keys import rotation
from functions.shared.keys.key_ring import (
    FRESH_SECONDS,
    IN_KMS,
    JWKS_MAX_AGE,
    STALE_SECONDS,
    KeyRing,
    RingKey,
    same_algorithm,
)
from functions.shared.keys.rotation import (
    CLOCK_SKEW,
    PROPAGATION_SECONDS,
    RETENTION_NEEDED,
    KeyInUseError,
    LastSigningKeyError,
    NoSigningKeyError,
    RotationRules,
    SuccessorAnnouncedError,
    UnknownKeyError,
)
from functions.shared.lambda_function import Clock
from functions.shared.storage.secrets_manager import SecretStore

from ..guards import MAX_KEY_CACHE_SECONDS
from .context import CommandContext, Deployment
from .errors import CommandError, ConflictError, NotFoundError
from .times import readable, span

_REVOKE = "To revoke the key and its tokens at once: gatehouse keys emergency --revoke KID."
_FIELDS: Mapping[str, str] = {
    "KeyEdition": "key_edition",
    "SigningAlgorithms": "algorithms",
    "KeySigningDays": "key_signing_days",
    "KeyAnnounceHours": "key_announce_hours",
    "KeyRetireHours": "key_retire_hours",
    "AuthorizerKeyCacheSeconds": "verifier_cache_seconds",
}
"""Fields of rotate_keys' settings by the parameter that sets each; a test compares both."""


@dataclass(frozen=True, slots=True)
class KeyOperations:
    """Planned operations (announce, retire) and emergency operations (rotate_at_once, revoke)."""

    store: RingStore
    backend: KeyBackend
    rules: RotationRules
    clock: Clock

    def rotation_breaks(self, alg: str) -> tuple[str, ...]:
        """Return sentences about what `rotate_at_once` breaks."""
        warm, unknown = FRESH_SECONDS, JWKS_MAX_AGE + self.rules.verifier_cache
        return (
            f"First, for {warm} seconds: warm processes still sign {alg} tokens with the old key.",
            f"Then, for {warm} seconds: the key set may lack the new key, its tokens are rejected.",
            f"Both take up to {STALE_SECONDS} seconds while Secrets Manager is unavailable.",
            f"Verifiers that do not refetch for an unknown key reject for {unknown} seconds.",
            "Tokens of the old key stay valid. To revoke them, revoke the key afterwards.",
        )

    def rotate_at_once(self, alg: str) -> str:
        """Make a new key sign at once, and the previous keys never again; return its id.

        Raises:
            ConflictError: another process has done so since the key ring was read.
            SecretConflictError: other processes wrote the key ring each time.
        """
        known_ids = {known.kid for known in self.store.read().ring.keys}
        key = self.backend.create(alg, self.clock())
        known_ids.add(key.kid)

        def with_key(ring: KeyRing, now: float) -> KeyRing:
            for known in ring.keys:
                is_new = same_algorithm(known.alg, alg) and known.kid not in known_ids
                # The clock of the other process may be ahead.
                if is_new and known.sign_until is None and known.sign_from <= now + CLOCK_SKEW:
                    raise ConflictError(
                        f"Another process made key {known.kid} sign at the same moment, so no second key was added.",
                        "List the keys before you go on: gatehouse keys list.",
                    )
            return rotation.replace_at_once(ring, key, now, self.rules)

        self.store.change(lambda ring: with_key(ring, self.clock()))
        return key.kid

    def revocation_breaks(self, kid: str) -> tuple[str, ...]:
        """Return sentences about what `revoke` breaks; raises NotFoundError."""
        key = find_key(self.store.read().ring, kid)
        if key.sign_from > self.clock():
            return ("Nothing: the key has not signed yet. Another one is published when due.",)
        cache = self.rules.verifier_cache
        return (
            f"Every {key.alg} token signed by key {kid} is rejected before it expires.",
            f"First, within {FRESH_SECONDS} seconds, by introspection.",
            f"While Secrets Manager is unavailable, within {STALE_SECONDS} seconds.",
            f"Then by verifiers as they refresh their key sets: most within {JWKS_MAX_AGE} s.",
            f"A verifier that cannot reach the issuer accepts them for up to {cache} seconds.",
            "API Gateway reuses cached decisions for AuthorizerCacheSeconds.",
            f"AWS's own JWT guards may use the key for up to {span(MAX_KEY_CACHE_SECONDS)}: docs/which-guard.md.",
        )

    def revoke(self, kid: str) -> None:
        """Remove a key from the key ring, which invalidates every token that it signed.

        A later run of the rotator deletes the private key: the next one, or for a young key the
        first one ORPHAN_SECONDS after the key was made.

        Raises:
            NotFoundError: the key ring has no such key.
            CommandError: no other key could sign.
            SecretConflictError: other processes wrote the key ring each time.
        """
        with command_errors():
            self.store.change(lambda ring: rotation.revoke(ring, kid, self.clock()))

    def announce(self, alg: str) -> RingKey:
        """Announce a successor of the current key; it signs once every verifier can have it.

        Raises:
            CommandError: a successor is announced, or no key signs.
            SecretConflictError: other processes wrote the key ring each time.
        """
        with command_errors():
            # Checked before a key is created, so that a rejection leaves none behind.
            rotation.check_successor_possible(self.store.read().ring, alg, self.clock())
            key = self.backend.create(alg, self.clock())
            ring = self.store.change(lambda ring: rotation.announce_successor(ring, key, self.rules, self.clock()))
            return rotation.find_key(ring, key.kid)

    def check_retirement(self, kid: str) -> None:
        """Return if `retire` is possible now; raises CommandError otherwise."""
        with command_errors(self.rules):
            rotation.retire(self.store.read().ring, kid, self.clock())

    def retire(self, kid: str) -> None:
        """Remove a key from the key ring; raises CommandError, SecretConflictError."""
        with command_errors(self.rules):
            self.store.change(lambda ring: rotation.retire(ring, kid, self.clock()))


def find_key(ring: KeyRing, kid: str) -> RingKey:
    """Return the key with an id; raises NotFoundError."""
    with command_errors():
        return rotation.find_key(ring, kid)


@contextmanager
def command_errors(rules: RotationRules | None = None) -> Iterator[None]:
    """Turn the rejection of a transition into the problem and the next step.

    Raises:
        CommandError: in place of a RotationError.
    """
    try:
        yield
    except UnknownKeyError as error:
        raise NotFoundError(f"The key ring has no key {error.kid}.", "List the keys: gatehouse keys list.") from None
    except KeyInUseError as error:
        raise CommandError(*_in_use(error.key, error.now, rules)) from None
    except LastSigningKeyError as error:
        problem = f"No other {error.alg} key can sign."
        raise CommandError(problem, "Rotate first: gatehouse keys emergency.") from None
    except NoSigningKeyError as error:
        problem = f"No {error.alg} key signs, so none can be replaced."
        raise CommandError(problem, "Create a key that signs at once: gatehouse keys emergency.") from None
    except SuccessorAnnouncedError as error:
        signs_from = readable(error.successor.sign_from)
        raise CommandError(
            f"Key {error.successor.kid} is already upcoming and signs from {signs_from}. "
            "Only one key can be upcoming at a time.",
            "Wait for it, or rotate at once: gatehouse keys emergency.",
        ) from None


def _in_use(key: RingKey, now: float, rules: RotationRules | None) -> tuple[str, str]:
    """Return the rule that retiring a key would break, and the next step."""
    possible = rotation.retirable_from(key)
    if now < key.sign_from:
        problem = (
            f"Key {key.kid} signs in less than {PROPAGATION_SECONDS} seconds. Some processes would "
            "not know of its removal, and its tokens would be rejected."
        )
        return problem, "Let it sign, and announce a successor: gatehouse keys rotate."
    if possible is None:
        earliest = now + (rules.announcing if rules else 0) + PROPAGATION_SECONDS + RETENTION_NEEDED
        return f"Key {key.kid} signs, and no other key is to sign {key.alg} tokens after it.", (
            "Announce a successor: gatehouse keys rotate. Then the key can be retired from "
            f"{readable(earliest)}. {_REVOKE}"
        )
    signs = "signs" if key.may_sign(now) else "signed"
    problem = (
        f"Key {key.kid} {signs} until {readable(key.sign_until)}, and its tokens can be valid for "
        f"another {span(RETENTION_NEEDED)}."
    )
    return problem, f"It can be retired from {readable(possible)}. {_REVOKE}"


def rotation_settings(deployment: Deployment) -> Settings:
    """Return the settings of the deployment's rotate_keys."""
    given: dict[str, Any] = {
        field: deployment.parameters[name] for name, field in _FIELDS.items() if name in deployment.parameters
    }
    return Settings(
        key_ring_secret=deployment.resource("KeyRingSecret"),
        signing_keys_secret=deployment.resource("SigningKeysSecret"),
        stack_name=deployment.name,
        **given,
    )


@dataclass(frozen=True)
class KeyAdmin:
    """A deployment's keys, read and changed with the caller's credentials.

    It runs the code of rotate_keys here, because in an incident that function may be broken.
    """

    context: CommandContext

    @cached_property
    def settings(self) -> Settings:
        """The settings of rotate_keys."""
        return rotation_settings(self.context.deployment)

    @cached_property
    def rules(self) -> RotationRules:
        """The times of rotation; raises UnsafeRotationError."""
        return self.settings.rules()

    @property
    def most_published(self) -> int:
        """The largest number of keys that the key set can have."""
        rules = self.rules
        each = ceil((rules.announcing + rules.signing + rules.retiring) / rules.signing)
        # A rotation ahead of schedule and an emergency add one key.
        planned = each * len(self.settings.signing_algorithms()) + 1
        return max(planned, len(self.ring.published_keys(self.context.now())))

    @property
    def ring(self) -> KeyRing:
        """The current key ring."""
        return self._store.read().ring

    @cached_property
    def operations(self) -> KeyOperations:
        """Operations on the keys."""
        secrets, settings = self._store.secrets, self.settings
        backend: KeyBackend = SecretsManagerKeys(secrets, settings.signing_keys_secret)
        if settings.key_edition == IN_KMS:
            backend = KmsKeys(self.context.aws, settings.stack_name)
        return KeyOperations(self._store, backend, self.rules, self.context.now)

    @cached_property
    def _store(self) -> RingStore:
        return RingStore(SecretStore(self.context.aws), self.settings.key_ring_secret)
