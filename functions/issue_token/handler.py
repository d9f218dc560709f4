"""POST /oauth2/token."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from authorizer.metrics import Meter
from functions.issue_token.composition import build
from functions.issue_token.settings import Settings
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.warm_instance import WarmInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.web.responses import ProxyResponse

_warm = WarmInstance(
    lambda: build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        aws=AwsClients(),
        meter=Meter.from_env(os.environ),
    )
)


def handle(event: Mapping[str, Any], context: object) -> ProxyResponse:  # noqa: ARG001 - Lambda hands it over
    """Answer one proxy event."""
    return _warm()(event)
