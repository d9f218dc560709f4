"""Keeps the key ring in order: on a schedule, and when the stack is deployed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from authorizer.metrics import Meter
from functions.rotate_keys.composition import build
from functions.rotate_keys.deployment import answering
from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.run_log import logged
from functions.rotate_keys.settings import Settings
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.warm_instance import WarmInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.rotate_keys.rotator import Rotator


def _cold_start() -> Rotator:
    settings = Settings.from_env(os.environ)
    aws = AwsClients()
    secrets = SecretsManagerStore(aws.secrets_manager)
    kms_halves = KmsHalves(aws.kms, settings.stack_name)
    return build(settings, clock=SYSTEM_CLOCK, secrets=secrets, kms_halves=kms_halves)


_warm = WarmInstance(_cold_start)
_meter = WarmInstance(lambda: Meter.from_env(os.environ))


def handle(event: Mapping[str, Any], context: object) -> dict[str, object]:  # noqa: ARG001 - Lambda hands it over
    """Run once, whatever the event says."""
    return answering(event, lambda: logged(lambda: _warm().run(), meter=_meter()))
