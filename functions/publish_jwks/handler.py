"""GET /oauth2/jwks: the JWK Set, with cache headers."""

import json
import os
from dataclasses import dataclass
from math import ceil

from authorizer.aws import Aws
from authorizer.metrics import Meter

from ..shared.keys.key_ring import JWKS_MAX_AGE, CachedKeyRing, KeyRing
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, EnvironmentSettings, LambdaHandler
from ..shared.storage.aws_calls import make_aws
from ..shared.storage.secrets_manager import SecretStore
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import METHODS, Endpoint, ProxyResponse, cacheable_response
from ..shared.web.proxy_request import ProxyRequest


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The name or ARN of the key ring's secret."""

    key_ring_secret: str


@dataclass(frozen=True, slots=True)
class JwksPublisher:
    """Responds with the keys that are published now."""

    key_ring: CachedKeyRing
    clock: Clock

    def __call__(self, request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        """Return the JWK Set, or 304 if the caller has the current one."""
        ring, now = self.key_ring.current(), self.clock()
        key_set = ring.key_set(now)
        audit.note(kids=[key["kid"] for key in key_set["keys"]])
        return cacheable_response(request, json.dumps(key_set), _max_age(ring, now))


def _max_age(ring: KeyRing, now: float) -> int:
    """Return the cache lifetime of the set: it ends at the next planned change at the latest."""
    change = ring.next_change(now)
    return JWKS_MAX_AGE if change is None else min(JWKS_MAX_AGE, ceil(change - now))


def build(settings: Settings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint."""
    secrets = SecretStore(aws)
    key_ring = CachedKeyRing(secrets, settings.key_ring_secret, clock)
    meter = meter or Meter(clock=clock)
    return Endpoint("publish_jwks", JwksPublisher(key_ring, clock), emit, METHODS, meter, key_ring.current)


handle = LambdaHandler(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ))
)
