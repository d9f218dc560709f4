"""Makes the key ring where there is none. Does nothing otherwise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from functions.rotate_keys.composition import build
from functions.rotate_keys.settings import Settings
from functions.shared.aws_clients import AwsClients
from functions.shared.clock import SYSTEM_CLOCK
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_instance import WarmInstance

if TYPE_CHECKING:
    from functions.rotate_keys.rotator import Rotator


def _cold_start() -> Rotator:
    return build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        secrets=SecretsManagerStore(AwsClients().secrets_manager),
    )


_warm = WarmInstance(_cold_start)


def handle(event: object, context: object) -> dict[str, object]:  # noqa: ARG001
    """Run once, whatever the event says."""
    return _warm().run()
