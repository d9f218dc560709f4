"""Client authentication: exactly one method per request, and the methods registered per client.

A method reads its credentials from a request and verifies them. `ClientAuthentication` does the
rest: one method at a time, one client_id, the client's registered methods, equal responses for all
failures, and a rate limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from authorizer import https_client
from authorizer.aws import Aws
from authorizer.clock import Clocks

from ..clients.client import Client
from ..clients.client_registry import ClientRegistry
from ..clients.supported import (
    FEDERATED_JWT,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    SPIFFE_X509,
    TLS_CLIENT_AUTH,
)
from ..lambda_function import Clock, WarmInstance
from ..metrics import UNCOUNTED_FAILURES
from ..storage.errors import StorageError, StorageUnavailableError
from ..storage.state_table import Counters, OneTimeUse, SecretUses
from ..web.audit import AuditEntry
from ..web.form import Form
from ..web.oauth_errors import InvalidClientError, InvalidRequestError, TooManyFailuresError
from ..web.proxy_request import ProxyRequest
from .client_secret import SecretUseRecorder, secret_methods
from .credentials import (
    CERTIFICATE,
    CLIENT_ASSERTION,
    JWT_SVID,
    AuthenticationMethod,
    CredentialSource,
    PresentedCredentials,
    ReplayedCredentialError,
)
from .rate_limit import FailureLimiter

if TYPE_CHECKING:
    from .remote_jwks import RemoteJwks
    from .trust_bundles import TrustBundles

CREDENTIAL_PARAMETERS = frozenset({"client_id", "client_secret", "client_assertion"})


class OutdatedRecordError(StorageUnavailableError):
    """Raised when a cached record rejects credentials and cannot be reloaded.

    It counts as a failure, because guesses would otherwise not be limited.
    """


@dataclass(slots=True)
class _Candidate:
    """A method, and its credentials in a request."""

    method: AuthenticationMethod[Any]
    presented: PresentedCredentials[Any]


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Authenticates the client of a request."""

    registry: ClientRegistry
    methods: Sequence[AuthenticationMethod[Any]]
    clock: Clock
    limiter: FailureLimiter | None = None

    def authenticate(self, request: ProxyRequest, form: Form, audit: AuditEntry) -> Client:
        """Return the client that sent the request.

        Raises:
            InvalidRequestError: credentials in the URI, two methods at once, two different client
                ids, or credentials that cannot be read.
            InvalidClientError: no credentials or an unknown method. Also, with equal responses in
                equal time: unknown or disabled client, method not allowed, wrong credentials.
            TooManyFailuresError: too many of the latter; then also for valid credentials.
            StorageUnavailableError: the client's record or keys cannot be read.
        """
        now = self.clock()
        candidates = self._candidates(request, form)
        client_id = candidates[0].presented.unverified_client_id
        audit.claim_client(client_id)
        if self.limiter:
            self.limiter.check(client_id, request.source_ip, now)
        try:
            client = self._authenticated(candidates, client_id, now, audit)
        except ReplayedCredentialError:
            raise
        except (InvalidClientError, OutdatedRecordError):
            self._count_failure(client_id, request.source_ip, now, audit)
            raise
        audit.verify_client(client.client_id)
        return client

    def changed_since(self, client: Client, since: float) -> Client | None:
        """Return the current record of an authenticated client if it has changed and is enabled.

        An error that depends on the record is decided again by it. `since` is the request's start.

        Raises:
            StorageUnavailableError: the record cannot be read.
        """
        current = self.registry.find_again(client.client_id, since)
        return None if current is None or current.disabled or current == client else current

    def method(self, name: str) -> AuthenticationMethod[Any]:
        """Return the method with this name."""
        return next(method for method in self.methods if method.name == name)

    def _authenticated(self, candidates: Sequence[_Candidate], client_id: str, now: float, audit: AuditEntry) -> Client:
        """Return the client. Its record is reloaded before a cached one rejects credentials.

        Raises:
            InvalidClientError: the current record rejects the credentials.
            OutdatedRecordError: a cached record rejects them.
        """
        client = self.registry.find(client_id)
        try:
            return _verify(candidates, client, now, audit)
        except ReplayedCredentialError:
            raise
        except InvalidClientError:
            try:
                current = self.registry.find_again(client_id, now)
            except StorageUnavailableError as error:
                raise OutdatedRecordError(reason=error.reason) from error.__cause__
            if current == client:
                raise
        return _verify(candidates, current, now, audit)

    def _candidates(self, request: ProxyRequest, form: Form) -> list[_Candidate]:
        if not CREDENTIAL_PARAMETERS.isdisjoint(request.query):
            raise InvalidRequestError("Client credentials must not be sent in the URI.")
        source = CredentialSource(request, form)
        kinds = source.kinds()
        candidates = [
            _Candidate(method, presented)
            for method in self.methods
            if method.credential in kinds and (presented := method.read(source)) is not None
        ]
        if not candidates:
            raise InvalidClientError(reason="no client authentication was presented")
        if len(candidates) > 1:
            # With mutual TLS, every request has a certificate. It authenticates the client only
            # without other credentials, because it can also bind tokens.
            candidates = [each for each in candidates if each.method.credential != CERTIFICATE] or candidates
            if len({each.method.credential for each in candidates}) > 1:
                raise InvalidRequestError("More than one client authentication method was used.")
        _check_same_client(candidates[0].presented, form)
        return candidates

    def _count_failure(self, client_id: str, source_ip: str, now: float, audit: AuditEntry) -> None:
        if self.limiter is None:
            return
        try:
            self.limiter.count_failure(client_id, source_ip, now)
        except TooManyFailuresError as error:
            if isinstance(error.__cause__, StorageError):
                _log_uncounted(audit, error.__cause__)
            raise
        except StorageError as error:
            # The credentials are wrong, counted or not.
            _log_uncounted(audit, error)


def _log_uncounted(audit: AuditEntry, error: StorageError) -> None:
    audit.note(not_counted=error.reason)
    audit.count(UNCOUNTED_FAILURES)


def _registered(candidates: Sequence[_Candidate], client: Client | None) -> _Candidate:
    """Return the client's registered method among those that read the same credentials."""
    if len(candidates) == 1:
        return candidates[0]
    allowed = client.authentication_methods if client else frozenset()
    return next((each for each in candidates if each.method.name in allowed), candidates[0])


def _verify(candidates: Sequence[_Candidate], client: Client | None, now: float, audit: AuditEntry) -> Client:
    if client is not None:
        audit.recognize_client(client.client_id)
    candidate = _registered(candidates, client)
    method = candidate.method
    audit.note(authentication_method=method.name)
    obstacle = _obstacle(client, method)
    # A client that must not authenticate takes the same time as an unknown one.
    admissible = None if obstacle else client
    try:
        method.verify(candidate.presented, admissible, now)
    except ReplayedCredentialError:
        raise
    except InvalidClientError as error:
        raise InvalidClientError(reason=obstacle or error.reason) from None
    if admissible is None:
        raise InvalidClientError(reason=obstacle)
    return admissible


def _obstacle(client: Client | None, method: AuthenticationMethod[Any]) -> str | None:
    if client is None:
        return "unknown client"
    if client.disabled:
        return "the client is disabled"
    if method.name not in client.authentication_methods:
        return "the client may not use this method"
    return None


def _check_same_client(presented: PresentedCredentials[Any], form: Form) -> None:
    if not presented.unverified_client_id:
        raise InvalidRequestError("The client_id is missing.")
    in_form = form.get("client_id")
    if in_form is not None and in_form != presented.unverified_client_id:
        raise InvalidRequestError("The client_id differs from the authenticated client's.")


class _RareMethod:
    """A method whose modules are loaded by the first request with its kind of credential.

    Most clients use a secret. A cold start then loads neither assertions nor certificates.
    """

    def __init__(self, name: str, credential: str, load: Callable[[], Sequence[AuthenticationMethod[Any]]]) -> None:
        self.name = name
        self.credential = credential
        self._load = load

    def read(self, source: CredentialSource) -> PresentedCredentials[Any] | None:
        """Return the credentials of this method in a request, None without any."""
        return self._method().read(source)

    def verify(self, presented: PresentedCredentials[Any], client: Client | None, now: float) -> None:
        """Verify credentials."""
        self._method().verify(presented, client, now)

    def _method(self) -> AuthenticationMethod[Any]:
        return next(method for method in self._load() if method.name == self.name)


def build_client_authentication(
    *, issuer: str, state_table: str, remote_keys: str, registry: ClientRegistry, aws: Aws, clock: Clock
) -> ClientAuthentication:
    """Compose client authentication with all methods.

    All endpoints share counters and used assertions: a guess or an assertion at one endpoint counts
    at the others. `remote_keys` is a setting, see `ssrf_guard.ON_LOOPBACK`.
    """
    clocks = Clocks(clock, time.monotonic)

    @WarmInstance
    def fetching() -> tuple[https_client.Send, bool]:
        """Return how keys are fetched, and whether http URLs are allowed."""
        from . import ssrf_guard

        on_loopback = remote_keys == ssrf_guard.ON_LOOPBACK
        check_address = ssrf_guard.require_public_or_loopback if on_loopback else ssrf_guard.require_public
        return partial(https_client.send, check_address=check_address), on_loopback

    @WarmInstance
    def remote_jwks() -> RemoteJwks:
        from .remote_jwks import RemoteJwks

        send, http = fetching()
        return RemoteJwks(send, clocks, http=http)

    @WarmInstance
    def trust_bundles() -> TrustBundles:
        from .trust_bundles import TrustBundles

        send, http = fetching()
        return TrustBundles(send, clocks, http=http)

    @WarmInstance
    def assertion_methods() -> Sequence[AuthenticationMethod[Any]]:
        from .client_assertion import ReplayCheck
        from .federated_jwt import FederatedJwt
        from .private_key_jwt import PrivateKeyJwt

        used = OneTimeUse(aws, state_table)
        return (
            PrivateKeyJwt(issuer, remote_jwks(), ReplayCheck("client-assertion", used)),
            FederatedJwt(issuer, remote_jwks(), ReplayCheck("federated-token", used)),
        )

    @WarmInstance
    def spiffe_jwt() -> Sequence[AuthenticationMethod[Any]]:
        from .client_assertion import ReplayCheck
        from .spiffe_jwt import SpiffeJwt

        replays = ReplayCheck("jwt-svid", OneTimeUse(aws, state_table))
        return (SpiffeJwt(issuer, trust_bundles(), remote_jwks(), replays),)

    @WarmInstance
    def certificate_methods() -> Sequence[AuthenticationMethod[Any]]:
        from .mutual_tls import SelfSignedTlsClientAuth, SpiffeX509, TlsClientAuth

        return TlsClientAuth(), SelfSignedTlsClientAuth(), SpiffeX509(trust_bundles)

    return ClientAuthentication(
        registry,
        (
            *secret_methods(SecretUseRecorder(SecretUses(aws, state_table))),
            _RareMethod(PRIVATE_KEY_JWT, CLIENT_ASSERTION, assertion_methods),
            _RareMethod(FEDERATED_JWT, CLIENT_ASSERTION, assertion_methods),
            _RareMethod(SPIFFE_JWT, JWT_SVID, spiffe_jwt),
            _RareMethod(TLS_CLIENT_AUTH, CERTIFICATE, certificate_methods),
            _RareMethod(SELF_SIGNED_TLS_CLIENT_AUTH, CERTIFICATE, certificate_methods),
            _RareMethod(SPIFFE_X509, CERTIFICATE, certificate_methods),
        ),
        clock,
        FailureLimiter(Counters(aws, state_table)),
    )
