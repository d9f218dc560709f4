"""POST /oauth2/token: authenticate, decide, mint, respond. RFC 6749, 3.2 and 5."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from authorizer.aws import Aws
from authorizer.claims import token_type
from authorizer.metrics import Meter

from ..shared.authentication.client_authentication import ClientAuthentication
from ..shared.authorization_server import AuthorizationServer, ServerSettings
from ..shared.clients.client import Client, TokenFormat
from ..shared.clients.supported import CLIENT_CREDENTIALS, FEDERATED_JWT, JWT_BEARER, TOKEN_EXCHANGE
from ..shared.keys.signers import RingSigners
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, LambdaHandler, WarmInstance, on_first_use
from ..shared.storage.aws_calls import make_aws
from ..shared.storage.state_table import OneTimeUse
from ..shared.web.audit import AuditEntry, Emit, encode_members
from ..shared.web.endpoint import NO_STORE, TOKEN_PATH, Endpoint, ProxyResponse, response, to_json
from ..shared.web.form import Form, read_form
from ..shared.web.oauth_errors import (
    InvalidRequestError,
    InvalidScopeError,
    InvalidTargetError,
    UnauthorizedClientError,
)
from ..shared.web.proxy_request import ProxyRequest
from .grants import Decide, Grant, TokenRequest, decide_grant, grant_client_credentials
from .key_binding import DpopNonces, KeyBinding, KeyBindingCheck
from .minting import JwtMint, Mint, MintedToken, Validity, mint_opaque, validity

if TYPE_CHECKING:
    from .jwt_grant import AcceptedAssertion, JwtGrants

REPEATABLE = frozenset({"resource", "audience"})
"""Parameters that may be sent more than once. RFC 8707, 2; RFC 8693, 2.1."""

_HEADERS = {"Content-Type": "application/json", **NO_STORE}

_CLIENT_DEPENDENT_ERRORS = (InvalidRequestError, InvalidScopeError, InvalidTargetError, UnauthorizedClientError)
"""Errors that can be caused by an outdated client record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServerSettings):
    """Two more secrets by name or ARN, and the server's base URL with mutual TLS, empty without one."""

    signing_keys_secret: str
    dpop_nonce_secret: str
    mtls_base_url: str = ""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Responds to token requests. `assertions` accepts JWT authorization grants."""

    authentication: ClientAuthentication
    key_binding: KeyBindingCheck
    grants: Mapping[str, Decide]
    mints: Mapping[TokenFormat, Mint]
    clock: Clock
    assertions: Callable[[], JwtGrants]

    def __call__(self, request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        """Respond to one token request; raises OAuthError for each that is refused."""
        form = read_form(request, repeatable=REPEATABLE)
        since = self.clock()
        client, assertion = self._authorize(request, form, audit)
        now = self.clock()
        try:
            binding, grant = self._decide(request, form, client, assertion, now)
        except _CLIENT_DEPENDENT_ERRORS:
            changed = self.authentication.changed_since(client, since)
            if changed is None:
                raise
            client = changed
            binding, grant = self._decide(request, form, client, assertion, now)
        self.key_binding.consume_proof(binding, now)
        if assertion:
            self.assertions().consume(assertion, now)
        times = validity(now, client.token_lifetime, grant.not_after)
        token = self.mints[client.token_format](grant, times)
        audit.note(expires_at=times.expires_at)
        grant_type = form.require("grant_type")
        audit.note_encoded(_granted(grant_type, grant.scopes, grant.audience, client.token_format, token.kid))
        if grant.confirmation:
            audit.note(bound_by=grant.confirmation.method)
        if grant.subject:
            audit.note(subject=grant.subject, actor=grant.actor)
        return _response(token, grant, times, binding.headers)

    def _authorize(
        self, request: ProxyRequest, form: Form, audit: AuditEntry
    ) -> tuple[Client, AcceptedAssertion | None]:
        """Return the client, and the assertion of a JWT authorization grant, which need not authenticate the client."""
        if form.get("grant_type") != JWT_BEARER:
            return self.authentication.authenticate(request, form, audit), None
        is_authenticated = self.authentication.has_credentials(request, form)
        client = self.authentication.authenticate(request, form, audit) if is_authenticated else None
        return self.assertions().accept(request, form, client, audit)

    def _decide(
        self, request: ProxyRequest, form: Form, client: Client, assertion: AcceptedAssertion | None, now: float
    ) -> tuple[KeyBinding, Grant]:
        binding = self.key_binding.check(request, client, now)
        return binding, decide_grant(TokenRequest(client, form, now, binding.confirmation, assertion), self.grants)


def _response(token: MintedToken, grant: Grant, times: Validity, headers: Mapping[str, str]) -> ProxyResponse:
    rest = _members(
        grant.scopes, token_type(grant.confirmation), times.seconds_left, grant.issued_token_type, grant.resource
    )
    # JSON escapes no character of a token.
    body = f'{{"access_token": "{token.text}", {rest[1:]}'
    return response(200, body, {**_HEADERS, **headers})


# Most tokens of a client have the same.
@lru_cache(maxsize=256)
def _granted(
    grant_type: str, scopes: tuple[str, ...], audience: tuple[str, ...], token_format: TokenFormat, kid: str | None
) -> str:
    """Write the members of a log line that describe a grant."""
    return encode_members(grant_type=grant_type, scopes=scopes, audience=audience, token_format=token_format, kid=kid)


# Most tokens of a client have the same.
@lru_cache(maxsize=256)
def _members(
    scopes: tuple[str, ...], kind: str, expires_in: int, issued_token_type: str | None, resource: str | None
) -> str:
    """Write the members of a response in addition to the token."""
    members: dict[str, object] = {"scope": " ".join(scopes)} if scopes else {}
    members |= {"token_type": kind, "expires_in": expires_in}
    if issued_token_type:
        members["issued_token_type"] = issued_token_type
    if resource:
        members["resource"] = resource
    return to_json(members)


def build(settings: Settings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint."""
    meter = meter or Meter(clock=clock)
    server = AuthorizationServer(settings, aws, clock)
    mtls_base_url = settings.mtls_base_url.rstrip("/")
    signers = RingSigners(server.key_ring, server.secrets, settings.signing_keys_secret, aws, meter)

    authentication = server.authentication()

    # Most requests need neither of these, and a cold start without them is faster.
    @on_first_use
    def exchange() -> Decide:
        from ..shared.tokens.token_lookup import TokenLookup
        from .token_exchange import TokenExchange

        known = TokenLookup(server.token_stores(), server.clients)
        return TokenExchange(known, authentication.method(FEDERATED_JWT))

    @on_first_use
    def opaque_mint() -> Mint:
        from ..shared.tokens.opaque_tokens import OpaqueTokenStore

        return partial(mint_opaque, settings.issuer, OpaqueTokenStore(aws, settings.tokens_table))

    @on_first_use
    def by_assertion() -> Decide:
        from .jwt_grant import grant_by_assertion

        return grant_by_assertion

    @WarmInstance
    def assertions() -> JwtGrants:
        from ..shared.authentication.client_assertion import ReplayCheck
        from .jwt_grant import JwtGrants

        replays = ReplayCheck("jwt-grant", OneTimeUse(aws, settings.state_table))
        keys = server.remote_jwks()
        return JwtGrants(
            settings.issuer, server.trust(), server.clients, keys, server.trust_bundles, replays, server.limiter, clock
        )

    endpoint = TokenEndpoint(
        authentication=authentication,
        key_binding=KeyBindingCheck(
            settings.issuer + TOKEN_PATH,
            DpopNonces(server.secrets, settings.dpop_nonce_secret, clock),
            OneTimeUse(aws, settings.state_table),
            mtls_base_url + TOKEN_PATH if mtls_base_url else "",
        ),
        grants={CLIENT_CREDENTIALS: grant_client_credentials, TOKEN_EXCHANGE: exchange, JWT_BEARER: by_assertion},
        mints={TokenFormat.JWT: JwtMint(settings.issuer, signers).mint, TokenFormat.OPAQUE: opaque_mint},
        clock=clock,
        assertions=assertions,
    )
    return Endpoint("issue_token", endpoint, emit, ("POST",), meter, lambda: signers.prepare(clock()))


handle = LambdaHandler(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ))
)
