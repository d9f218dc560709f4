"""Rotates the keys on a schedule and when the stack is deployed."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from authorizer.metrics import Meter

from ..shared.clients.supported import SIGNING_ALGORITHMS
from ..shared.keys.key_ring import IN_KMS, IN_SECRETS_MANAGER
from ..shared.keys.rotation import NewKey, RotationRules, UnsafeRotationError
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, EnvironmentSettings, Event, LambdaHandler, WarmInstance
from ..shared.lifetimes import DAY
from ..shared.storage.boto3_client import Boto3
from ..shared.storage.secrets_manager import SecretStore
from .custom_resource import respond_to_cloudformation, run_and_log
from .key_backends import KeyBackend, KmsKeys, SecretsManagerKeys, generate_key
from .key_rotation import RingStore, Rotator

_NUMBER = re.compile(r"[0-9]{1,9}")
_HOUR = 3_600

_KEY_BACKENDS = (IN_SECRETS_MANAGER, IN_KMS)


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """Names or ARNs of the two secrets, and settings of rotation, as strings.

    A verifier may use a JWK Set that it cannot refresh for `verifier_cache_seconds`. `stack_name`
    identifies the stack's KMS keys.
    """

    key_ring_secret: str
    signing_keys_secret: str
    key_edition: str = IN_SECRETS_MANAGER
    stack_name: str = "gatehouse"
    algorithms: str = "RS256"
    key_signing_days: str = "30"
    key_announce_hours: str = "24"
    key_retire_hours: str = "48"
    verifier_cache_seconds: str = "3600"

    def rules(self) -> RotationRules:
        """Return the times of rotation.

        Raises:
            UnsafeRotationError: they are not numbers, or verifiers would reject valid tokens.
        """
        faults: list[str] = []
        rules = {
            "signing": _number("KEY_SIGNING_DAYS", self.key_signing_days, faults) * DAY,
            "announcing": _number("KEY_ANNOUNCE_HOURS", self.key_announce_hours, faults) * _HOUR,
            "retiring": _number("KEY_RETIRE_HOURS", self.key_retire_hours, faults) * _HOUR,
            "verifier_cache": _number("VERIFIER_CACHE_SECONDS", self.verifier_cache_seconds, faults),
        }
        if faults:
            raise UnsafeRotationError(faults)
        return RotationRules(**rules)

    def signing_algorithms(self) -> tuple[str, ...]:
        """Return the algorithms of the keys.

        Raises:
            UnsafeRotationError: the key backend or an algorithm is unknown, or an algorithm is named twice.
        """
        if self.key_edition not in _KEY_BACKENDS:
            raise UnsafeRotationError([f"KEY_EDITION is one of {', '.join(_KEY_BACKENDS)}"])
        wanted = tuple(dict.fromkeys(part.strip() for part in self.algorithms.split(",")))
        if not set(wanted) <= set(SIGNING_ALGORITHMS):
            raise UnsafeRotationError([f"ALGORITHMS are among {', '.join(SIGNING_ALGORITHMS)}"])
        if {"EdDSA", "Ed25519"} <= set(wanted):
            raise UnsafeRotationError(["ALGORITHMS name Ed25519 twice: EdDSA is its older name"])
        return wanted


def _number(name: str, text: str, faults: list[str]) -> int:
    if not _NUMBER.fullmatch(text):
        faults.append(f"{name} is a whole number")
        return 0
    return int(text)


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
    aws = Boto3()
    secrets = SecretStore(aws)
    kms_keys = KmsKeys(aws, settings.stack_name)
    return build(settings, clock=SYSTEM_CLOCK, secrets=secrets, kms_keys=kms_keys)


def _build_handler() -> Callable[[Event], dict[str, object]]:
    meter, rotator = Meter.from_env(os.environ), WarmInstance(_build_rotator)

    def run() -> dict[str, object]:
        return run_and_log(lambda: rotator().run(), meter=meter)

    return lambda event: respond_to_cloudformation(event, run)


handle = LambdaHandler(_build_handler)
