"""The authorization server on stores in memory: its endpoints, as a client sees them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from authorizer.clock import Clocks
from functions.introspect_token.handler import TokenIntrospection
from functions.issue_token.grants import grant_client_credentials
from functions.issue_token.handler import TokenEndpoint
from functions.issue_token.jwt_grant import JwtGrants, grant_by_assertion
from functions.issue_token.key_binding import DpopNonces, KeyBindingCheck
from functions.issue_token.minting import JwtMint, mint_opaque
from functions.issue_token.token_exchange import TokenExchange
from functions.revoke_token.handler import TokenRevocation
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import ClientSecretBasic, ClientSecretPost
from functions.shared.authentication.federated_jwt import FederatedClients, FederatedJwt
from functions.shared.authentication.mutual_tls import SpiffeX509, TlsClientAuth
from functions.shared.authentication.rate_limit import FailureLimiter
from functions.shared.authentication.spiffe_jwt import SpiffeJwt
from functions.shared.authentication.trust_bundles import TrustBundles
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_secrets import SecretVerifier
from functions.shared.clients.supported import CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE
from functions.shared.clients.trust_store import CachedTrust
from functions.shared.keys.key_ring import CachedKeyRing
from functions.shared.keys.signers import LocalSigners
from functions.shared.tokens.token_lookup import IssuedJwts, TokenLookup
from functions.shared.web.endpoint import INTROSPECTION_PATH, REVOCATION_PATH, TOKEN_PATH, Endpoint, ProxyResponse
from tests.support.assertions import MemoryRemoteJwks
from tests.support.aws import DPOP_NONCE_SECRET, ISSUER, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import (
    MemoryClients,
    MemoryCounters,
    MemoryDenyList,
    MemoryOneTimeUse,
    MemorySecrets,
    MemoryTokens,
    MemoryTrust,
)
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SECRET, secrets
from tests.support.spiffe import BundleEndpoints

TOKEN_URL = ISSUER + TOKEN_PATH


@dataclass
class MemoryServer:
    """Endpoints that share their stores, and their log lines."""

    clients: MemoryClients
    store: MemorySecrets = field(default_factory=secrets)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    log: list[str] = field(default_factory=list)
    trust: MemoryTrust = field(default_factory=MemoryTrust)
    issuers: MemoryRemoteJwks = field(default_factory=MemoryRemoteJwks)
    counters: MemoryCounters = field(default_factory=MemoryCounters)
    endpoints: BundleEndpoints = field(default_factory=BundleEndpoints)

    def __post_init__(self) -> None:
        self.store.write(DPOP_NONCE_SECRET, "n" * 64)
        self.opaque = MemoryTokens()
        self.denied = MemoryDenyList()
        self.used = MemoryOneTimeUse()
        key_ring = CachedKeyRing(self.store, KEY_RING_SECRET, self.clock)
        self.signers = LocalSigners(key_ring, self.store, SIGNING_KEYS_SECRET)
        self.nonces = DpopNonces(self.store, DPOP_NONCE_SECRET, self.clock)
        formats = (self.opaque, IssuedJwts(ISSUER, key_ring, self.denied, self.clock))
        known = TokenLookup(formats, self.clients)
        federated = FederatedJwt(ISSUER, self.issuers, ReplayCheck("federated-token", self.used))
        exchange = TokenExchange(known, federated)
        bundles = TrustBundles(self.endpoints.send, Clocks(self.clock, self.clock))
        svids = SpiffeJwt(ISSUER, bundles, self.issuers, ReplayCheck("jwt-svid", self.used))
        verifier = SecretVerifier(lambda *_: False)
        trust = CachedTrust(self.trust, self.clock, self.clock)
        limiter = FailureLimiter(self.counters)
        authentication = ClientAuthentication(
            self.clients,
            (
                ClientSecretBasic(verifier),
                ClientSecretPost(verifier),
                federated,
                svids,
                TlsClientAuth(),
                SpiffeX509(lambda: bundles),
            ),
            self.clock,
            limiter,
            lambda: FederatedClients(ISSUER, trust),
        )
        replays = ReplayCheck("jwt-grant", self.used)
        assertions = JwtGrants(ISSUER, trust, self.clients, self.issuers, lambda: bundles, replays, limiter, self.clock)
        issuance = TokenEndpoint(
            authentication,
            KeyBindingCheck(TOKEN_URL, self.nonces, self.used),
            {CLIENT_CREDENTIALS: grant_client_credentials, TOKEN_EXCHANGE: exchange, JWT_BEARER: grant_by_assertion},
            {
                TokenFormat.JWT: JwtMint(ISSUER, self.signers).mint,
                TokenFormat.OPAQUE: partial(mint_opaque, ISSUER, self.opaque),
            },
            self.clock,
            lambda: assertions,
        )
        introspection = TokenIntrospection(authentication, known, self.clock, ISSUER, self.signers)
        revocation = TokenRevocation(authentication, formats, self.clock)
        post = ("POST",)
        self.token_endpoint = Endpoint("issue_token", issuance, self.log.append, post)
        self.introspection_endpoint = Endpoint("introspect_token", introspection, self.log.append, post)
        self.revocation_endpoint = Endpoint("revoke_token", revocation, self.log.append, post)

    def post(
        self,
        client_id: str,
        parameters: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        **rest: Any,
    ) -> ProxyResponse:
        """Send a token request; client_credentials unless the parameters say otherwise."""
        given = list(parameters.items() if hasattr(parameters, "items") else parameters)
        if "grant_type" not in dict(given):
            given.insert(0, ("grant_type", CLIENT_CREDENTIALS))
        all_headers = {**basic(client_id, SECRET), **(headers or {})}
        return self.token_endpoint(form_event(TOKEN_PATH, given, headers=all_headers, **rest))

    def token(self, client_id: str, *args: Any, **rest: Any) -> dict[str, Any]:
        """Send a token request that is granted."""
        return _granted(self.post(client_id, *args, **rest))

    def refusal(self, client_id: str, *args: Any, **rest: Any) -> str:
        """Send a token request that is refused; return the error code."""
        answer = self.post(client_id, *args, **rest)
        assert answer["statusCode"] == 400, answer
        return str(json.loads(answer["body"])["error"])

    def introspect(self, caller: str, token: str) -> dict[str, Any]:
        """Introspect a token."""
        headers = basic(caller, SECRET)
        event = form_event(INTROSPECTION_PATH, {"token": token}, headers=headers)
        return _granted(self.introspection_endpoint(event))

    def revoke(self, client_id: str, token: str, **more: str) -> ProxyResponse:
        """Revoke a token."""
        headers = basic(client_id, SECRET)
        event = form_event(REVOCATION_PATH, {"token": token, **more}, headers=headers)
        return self.revocation_endpoint(event)


def memory_server(*clients: Client, store: MemorySecrets | None = None) -> MemoryServer:
    """Return a server with these clients."""
    return MemoryServer(MemoryClients(*clients), store or secrets())


def _granted(answer: ProxyResponse) -> dict[str, Any]:
    assert answer["statusCode"] == 200, answer
    members: dict[str, Any] = json.loads(answer["body"])
    return members
