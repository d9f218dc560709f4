"""A deployment's key ring, with the code and the rules of rotate_keys and the caller's credentials.

The function itself runs what is due and nothing else, and in an incident it may be what is broken.
Writes of both are conditional, so neither undoes the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.private_halves import StoredHalves
from functions.rotate_keys.ring_store import RingStore
from functions.rotate_keys.settings import Settings
from functions.shared.keys.key_ring import IN_KMS
from functions.shared.runtime.secret_store import SecretsManagerStore
from infra.cli.keys.planned import Planned
from infra.emergency import Emergency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.rotate_keys.private_halves import PrivateHalves
    from functions.rotate_keys.rotation_rules import RotationRules
    from functions.shared.keys.key_ring import KeyRing
    from infra.cli.deployment.lookup import Deployment
    from infra.cli.session import Session

_FIELDS: Final[Mapping[str, str]] = {
    "KeyEdition": "key_edition",
    "SigningAlgorithms": "algorithms",
    "KeySigningDays": "key_signing_days",
    "KeyAnnounceHours": "key_announce_hours",
    "KeyRetireHours": "key_retire_hours",
    "AuthorizerKeyCacheSeconds": "verifier_cache_seconds",
}
"""Fields of rotate_keys' settings by the parameter that sets each; a test holds both together."""


def rotation_settings(deployment: Deployment) -> Settings:
    """Return the settings that the deployment's rotate_keys runs with."""
    given: dict[str, Any] = {
        field: deployment.parameters[name]
        for name, field in _FIELDS.items()
        if name in deployment.parameters
    }
    return Settings(
        key_ring_secret=deployment.key_ring_secret,
        signing_keys_secret=deployment.signing_keys_secret,
        stack_name=deployment.name,
        **given,
    )


@dataclass(frozen=True)
class KeyRoom:
    """Where a deployment's keys are looked at and changed."""

    session: Session

    @cached_property
    def settings(self) -> Settings:
        """What rotate_keys is set to."""
        return rotation_settings(self.session.deployment)

    @cached_property
    def rules(self) -> RotationRules:
        """The times of rotation; raises UnsafeRotationError."""
        return self.settings.rules()

    @property
    def ring(self) -> KeyRing:
        """The ring as it is now."""
        return self._store.read().ring

    @property
    def planned(self) -> Planned:
        """What breaks nothing."""
        return Planned(self._store, self._halves, self.rules, self.session.now)

    @property
    def emergency(self) -> Emergency:
        """What breaks something."""
        return Emergency(self._store, self._halves, self.rules, self.session.now)

    @cached_property
    def _secrets(self) -> SecretsManagerStore:
        return SecretsManagerStore(self.session.aws.secrets_manager)

    @cached_property
    def _store(self) -> RingStore:
        return RingStore(self._secrets, self.settings.key_ring_secret)

    @cached_property
    def _halves(self) -> PrivateHalves:
        if self.settings.key_edition == IN_KMS:
            return KmsHalves(self.session.aws.kms, self.settings.stack_name)
        return StoredHalves(self._secrets, self.settings.signing_keys_secret)
