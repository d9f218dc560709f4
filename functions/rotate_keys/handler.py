"""Rotates the keys on a schedule and when the stack is deployed."""

from __future__ import annotations

import os
from collections.abc import Callable

from authorizer.metrics import Meter
from functions.rotate_keys.custom_resource import respond_to_cloudformation, run_and_log
from functions.rotate_keys.key_backends import (
    KeyBackend,
    KmsKeys,
    SecretsManagerKeys,
    generate_key,
)
from functions.rotate_keys.key_rotation import RingStore, Rotator
from functions.rotate_keys.settings import Settings
from functions.shared.keys.key_ring import IN_KMS, IN_SECRETS_MANAGER
from functions.shared.keys.rotation import NewKey
from functions.shared.runtime.lambda_function import (
    SYSTEM_CLOCK,
    Clock,
    Event,
    LambdaHandler,
    WarmInstance,
)
from functions.shared.storage.aws import AwsClients
from functions.shared.storage.secrets_manager import SecretStore


def build(
    settings: Settings,
    *,
    clock: Clock,
    secrets: SecretStore,
    kms_keys: KeyBackend | None = None,
    generate: Callable[[str], NewKey] = generate_key,
) -> Rotator:
    """Compose the function. Without `kms_keys`, keys in KMS are neither created nor deleted.

    Raises:
        UnsafeRotationError: verifiers would reject valid tokens with these settings.
    """
    backends: dict[str, KeyBackend] = {
        IN_SECRETS_MANAGER: SecretsManagerKeys(secrets, settings.signing_keys_secret, generate)
    }
    if kms_keys is not None:
        backends[IN_KMS] = kms_keys
    return Rotator(
        store=RingStore(secrets, settings.key_ring_secret),
        backends=backends,
        backend=settings.key_edition,
        algorithms=settings.signing_algorithms(),
        rules=settings.rules(),
        clock=clock,
    )


def _build_rotator() -> Rotator:
    settings = Settings.from_env(os.environ)
    aws = AwsClients()
    secrets = SecretStore(aws.secrets_manager)
    kms_keys = KmsKeys(aws.kms, settings.stack_name)
    return build(settings, clock=SYSTEM_CLOCK, secrets=secrets, kms_keys=kms_keys)


def _build_handler() -> Callable[[Event], dict[str, object]]:
    meter, rotator = Meter.from_env(os.environ), WarmInstance(_build_rotator)

    def run() -> dict[str, object]:
        return run_and_log(lambda: rotator().run(), meter=meter)

    return lambda event: respond_to_cloudformation(event, run)


handle = LambdaHandler(_build_handler)
