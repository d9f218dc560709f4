"""Rotates the keys on a schedule and when the stack is deployed, as a custom resource of CloudFormation.

If keys cannot be created, or the rotation settings are not safe, the stack is not deployed.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from authorizer import https_client
from authorizer.clock import Deadline
from authorizer.metrics import ERROR, Meter, Metric

from ..shared.clients.supported import SIGNING_ALGORITHMS
from ..shared.keys.key_ring import IN_KMS, IN_SECRETS_MANAGER
from ..shared.keys.rotation import NewKey, RotationRules, UnsafeRotationError
from ..shared.lambda_function import (
    SYSTEM_CLOCK,
    Clock,
    EnvironmentSettings,
    Event,
    LambdaHandler,
    MissingSettingsError,
    WarmInstance,
)
from ..shared.lifetimes import DAY
from ..shared.storage.boto3_client import Boto3
from ..shared.storage.errors import StorageError
from ..shared.storage.secrets_manager import SecretStore
from ..shared.web.audit import Emit
from .key_backends import KeyBackend, KmsKeys, SecretsManagerKeys, generate_key
from .key_rotation import Report, RingStore, Rotator

ROTATIONS = Metric("Rotations", (("outcome",),))
"""One per run. Its outcome is `success` or `error`."""

SIGNING_KEY_AGE_DAYS = Metric("SigningKeyAgeDays", is_measure=True)
"""The time since the oldest current key's first signature."""

METRICS = (ROTATIONS, SIGNING_KEY_AGE_DAYS)
"""All metrics of rotate_keys."""

_RESOURCE_ID = "key-ring"
_SECONDS = 5
_PAUSES = (5.0, 15.0)
"""Seconds between attempts, while the permissions of a new role propagate."""

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
        numbers = ("key_signing_days", "key_announce_hours", "key_retire_hours", "verifier_cache_seconds")
        faults = [f"{name.upper()} is a whole number" for name in numbers if not _NUMBER.fullmatch(getattr(self, name))]
        if faults:
            raise UnsafeRotationError(faults)
        return RotationRules(
            signing=int(self.key_signing_days) * DAY,
            announcing=int(self.key_announce_hours) * _HOUR,
            retiring=int(self.key_retire_hours) * _HOUR,
            verifier_cache=int(self.verifier_cache_seconds),
        )

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


def put(url: str, body: bytes) -> None:
    """Send a response to the presigned URL of CloudFormation."""
    # A Content-Type is not part of the signature and would be rejected.
    request = https_client.Request("PUT", url, {"Content-Type": ""}, body, Deadline(_SECONDS))
    status = https_client.send(request).status
    if status != 200:
        raise https_client.HttpExchangeError(f"CloudFormation's response is {status}")


def respond_to_cloudformation(
    event: Mapping[str, Any],
    run: Callable[[], dict[str, object]],
    send: Callable[[str, bytes], None] = put,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, object]:
    """Run, and send the result to CloudFormation if the event is from a custom resource.

    When the stack is deleted, nothing is done: its secrets are deleted with it, its KMS keys stay.
    """
    if "ResponseURL" not in event:
        return run()
    status, explanation, report = "SUCCESS", "", {}
    if event["RequestType"] != "Delete":
        try:
            report = _with_retries(run, sleep)
        except Exception as error:  # noqa: BLE001 - logged before; without a response the deployment hangs
            status, explanation = "FAILED", reason(error)
    response = {
        "Status": status,
        "Reason": explanation or "See the function's log.",
        "PhysicalResourceId": _RESOURCE_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    send(event["ResponseURL"], json.dumps(response).encode())
    return report


def _with_retries(run: Callable[[], dict[str, object]], sleep: Callable[[float], None]) -> dict[str, object]:
    """Run, and retry after a pause if AWS refuses."""
    for pause in _PAUSES:
        try:
            return run()
        except StorageError:
            sleep(pause)
    return run()


def run_and_log(run: Callable[[], Report], emit: Emit = print, meter: Meter | None = None) -> dict[str, object]:
    """Run, and log one line. An error is logged and raised again, so that Lambda counts it."""
    meter = meter or Meter()
    line: dict[str, object] = {"function": "rotate_keys"}
    try:
        report = asdict(run())
    except Exception as error:
        line |= {"outcome": "error", "reason": reason(error)}
        emit(_with_metrics(line, meter.writer(ROTATIONS, level=ERROR)()))
        raise
    meter.record(SIGNING_KEY_AGE_DAYS, report["signing_key_age_days"])
    emit(_with_metrics({**line, "outcome": "success", **report}, meter.writer(ROTATIONS)()))
    return report


def _with_metrics(line: dict[str, object], metrics: str) -> str:
    return f"{json.dumps(line)[:-1]}{metrics}}}"


def reason(error: Exception) -> str:
    """Return the reason of an error, without the text of errors that may contain a secret."""
    if isinstance(error, UnsafeRotationError | MissingSettingsError):
        return str(error)
    detail = error.reason if isinstance(error, StorageError) else None
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


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


def _build_handler() -> Callable[[Event], dict[str, object]]:
    @WarmInstance
    def rotator() -> Rotator:
        settings, aws = Settings.from_env(os.environ), Boto3()
        kms_keys = KmsKeys(aws, settings.stack_name)
        return build(settings, clock=SYSTEM_CLOCK, secrets=SecretStore(aws), kms_keys=kms_keys)

    meter = Meter.from_env(os.environ)
    run = partial(run_and_log, lambda: rotator().run(), meter=meter)
    return lambda event: respond_to_cloudformation(event, run)


handle = LambdaHandler(_build_handler)
