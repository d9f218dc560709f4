"""GET /country/code/{code} and GET /country."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from authorizer.metrics import Meter
from functions.look_up_country.directory import CountryDirectory
from functions.look_up_country.lookup import CountryLookup
from functions.shared.runtime.warm_instance import WarmInstance
from functions.shared.web.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.web.audit_log import Emit
    from functions.shared.web.responses import ProxyResponse


def build(*, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs no settings, no clock and no service."""
    lookup = CountryLookup(CountryDirectory())
    return Endpoint("look_up_country", lookup, emit, meter=meter or Meter())


_warm = WarmInstance(lambda: build(meter=Meter.from_env(os.environ)))


def handle(event: Mapping[str, Any], context: object) -> ProxyResponse:  # noqa: ARG001 - Lambda hands it over
    """Answer one proxy event."""
    return _warm()(event)
