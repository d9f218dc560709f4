"""POST /oauth2/introspect."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Any

from authorizer.aws import Aws
from authorizer.claims import token_type
from authorizer.metrics import Meter

from ..shared.authentication.client_authentication import ClientAuthentication
from ..shared.authorization_server import AuthorizationServer, ServerSettings
from ..shared.clients.client import Client
from ..shared.clients.supported import DEFAULT_SIGNING_ALGORITHM
from ..shared.keys.signers import RingSigners, SignerSource
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, LambdaHandler
from ..shared.storage.aws_calls import make_aws
from ..shared.tokens.opaque_tokens import ActiveToken
from ..shared.tokens.token_lookup import TokenLookup
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import NO_STORE, Endpoint, ProxyResponse, json_response, response
from ..shared.web.form import Form, read_form
from ..shared.web.proxy_request import ProxyRequest

JWT_MEDIA_TYPE = "application/token-introspection+jwt"

_INACTIVE: Mapping[str, object] = {"active": False}


@dataclass(frozen=True, slots=True)
class TokenIntrospection:
    """Responds to introspection requests."""

    authentication: ClientAuthentication
    tokens: TokenLookup
    clock: Clock
    issuer: str
    signers: SignerSource

    def __call__(self, request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        """Respond to one request in JSON or, if its Accept header asks for it, with a JWT.

        A token is inactive if it is unknown, expired, revoked, of a disabled client, or does not
        concern the caller. The response does not state which. RFC 7662, 2.2.

        Raises:
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        since = self.clock()
        caller = self.authentication.authenticate(request, form, audit)
        members = self._members(form, caller, since, audit)
        if request.accepts(JWT_MEDIA_TYPE):  # RFC 9701, 4
            audit.note(signed=True)
            return self._signed(members, caller.client_id)
        return json_response(200, members, NO_STORE)

    def _members(self, form: Form, caller: Client, since: float, audit: AuditEntry) -> Mapping[str, Any]:
        token = self.tokens.find(form.require("token"), self.clock())
        visible = self._visible_part(token, caller, since) if token else None
        if visible is None:
            audit.note(active=False)
            return _INACTIVE
        audit.note(active=True, token_client_id=visible.client_id, scopes=visible.scopes)
        return to_members(visible)

    def _visible_part(self, token: ActiveToken, caller: Client, since: float) -> ActiveToken | None:
        """Return the part that the caller may see; reload its record before hiding everything."""
        visible = visible_part(token, caller)
        if visible:
            return visible
        changed = self.authentication.changed_since(caller, since)
        return visible_part(token, changed) if changed else None

    def _signed(self, members: Mapping[str, Any], caller: str) -> ProxyResponse:
        """Return a JWT whose only audience is the caller, signed with a key that signs tokens.

        The `typ` header separates the two. The top level has neither `sub` nor `exp`. A verifier that does not
        check `typ` therefore does not accept it as an access token. RFC 9701, 5 and 8.1.
        """
        now = self.clock()
        claims = {"iss": self.issuer, "aud": caller, "iat": floor(now), "token_introspection": members}
        signer = self.signers.current(now, DEFAULT_SIGNING_ALGORITHM)
        token = signer.sign(claims, JWT_MEDIA_TYPE.removeprefix("application/"))
        return response(200, token, {"Content-Type": JWT_MEDIA_TYPE, **NO_STORE})


def visible_part(token: ActiveToken, caller: Client) -> ActiveToken | None:
    """Return the part of a token that the caller may see, None if it may see nothing. RFC 7662, 4.

    The token's client and the APIs in its audience see the whole token. A resource server that owns
    some of its scopes sees it with those scopes only.
    """
    if caller.client_id == token.client_id or caller.is_among(token.audience):
        return token
    owned = tuple(scope for scope in token.scopes if scope in caller.resource_scopes)
    return replace(token, scopes=owned) if owned else None


def to_members(token: ActiveToken) -> dict[str, Any]:
    """Return an active token's members of RFC 7662, 2.2, without those that have no value, and its additional claims.

    `cnf` is defined in RFC 8705, 3.2, and RFC 9449, 6.2, `act` in RFC 8693, 4.1.
    """
    members: dict[str, Any] = {
        "active": True,
        "scope": " ".join(token.scopes) or None,
        "client_id": token.client_id,
        "token_type": token_type(token.confirmation),
        "exp": token.expires_at,
        "iat": token.issued_at,
        "nbf": token.not_before,
        "sub": token.subject,
        "aud": token.audience[0] if len(token.audience) == 1 else token.audience,
        "iss": token.issuer,
        "jti": token.token_id,
        "cnf": token.confirmation and token.confirmation.to_cnf(),
        "act": token.actor,
    }
    return {name: value for name, value in members.items() if value is not None} | {**token.claims}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServerSettings):
    """One more secret by name or ARN."""

    signing_keys_secret: str


def build(settings: Settings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint."""
    meter = meter or Meter(clock=clock)
    server = AuthorizationServer(settings, aws, clock)
    signers = RingSigners(server.key_ring, server.secrets, settings.signing_keys_secret, aws, meter)
    introspection = TokenIntrospection(
        authentication=server.authentication(),
        tokens=TokenLookup(server.token_stores(), server.clients),
        clock=clock,
        issuer=settings.issuer,
        signers=signers,
    )
    return Endpoint("introspect_token", introspection, emit, ("POST",), meter, server.key_ring.current)


handle = LambdaHandler(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ))
)
