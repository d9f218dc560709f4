"""Makes the key ring where there is none. Does nothing otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.rotate_keys.key_generation import NewKey, generate_rsa_key
from functions.rotate_keys.key_store import KeyStore
from functions.rotate_keys.rotation import first_ring
from functions.rotate_keys.settings import Settings
from functions.shared.aws_clients import AwsClients
from functions.shared.clock import SYSTEM_CLOCK, Clock
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_instance import WarmInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.shared.secret_store import SecretStore


@dataclass(frozen=True, slots=True)
class Rotation:
    """One run: look at the ring, do what is due."""

    keys: KeyStore
    clock: Clock
    generate: Callable[[], NewKey]

    def run(self) -> dict[str, object]:
        """Make the first ring if there is none; answer with the new key's id, if any."""
        if self.keys.ring() is not None:
            return {"created": None}
        key = self.generate()
        self.keys.add(key, first_ring(key, self.clock()))
        return {"created": key.kid}


def build(
    settings: Settings,
    *,
    clock: Clock,
    secrets: SecretStore,
    generate: Callable[[], NewKey] = generate_rsa_key,
) -> Rotation:
    """Compose the function."""
    keys = KeyStore(secrets, settings.key_ring_secret, settings.signing_keys_secret)
    return Rotation(keys, clock, generate)


def _cold_start() -> Rotation:
    return build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        secrets=SecretsManagerStore(AwsClients().secrets_manager),
    )


_warm = WarmInstance(_cold_start)


def handle(event: object, context: object) -> dict[str, object]:  # noqa: ARG001
    """Run once, whatever the event says."""
    return _warm().run()
