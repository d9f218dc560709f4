"""Rotates the keys on a schedule and when the stack is deployed."""

import os
from collections.abc import Callable

from authorizer.metrics import Meter
from functions.rotate_keys.composition import build
from functions.rotate_keys.deployment import answering
from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.rotator import Rotator
from functions.rotate_keys.run_log import logged
from functions.rotate_keys.settings import Settings
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.warm_instance import Event, LambdaHandler, WarmInstance


def _cold_start() -> Rotator:
    settings = Settings.from_env(os.environ)
    aws = AwsClients()
    secrets = SecretsManagerStore(aws.secrets_manager)
    kms_halves = KmsHalves(aws.kms, settings.stack_name)
    return build(settings, clock=SYSTEM_CLOCK, secrets=secrets, kms_halves=kms_halves)


def _build() -> Callable[[Event], dict[str, object]]:
    meter, rotator = Meter.from_env(os.environ), WarmInstance(_cold_start)
    return lambda event: answering(event, lambda: logged(lambda: rotator().run(), meter=meter))


handle = LambdaHandler(_build)
