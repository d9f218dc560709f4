"""Client authentication: exactly one method per request, and the methods registered per client.

A method reads its credentials from a request and verifies them. `ClientAuthentication` does the rest: one method at a
time, one client_id, the client's registered methods, equal responses for all failures, and a rate limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..clients.client import Client
from ..clients.client_registry import ClientRegistry
from ..clients.supported import SPIFFE
from ..lambda_function import Clock
from ..metrics import UNCOUNTED_FAILURES
from ..storage.errors import StorageError, StorageUnavailableError
from ..web.audit import AuditEntry
from ..web.form import Form
from ..web.oauth_errors import InvalidClientError, InvalidRequestError, TooManyFailuresError
from ..web.proxy_request import ProxyRequest
from .credentials import (
    CERTIFICATE,
    CLIENT_ASSERTION,
    JWT_SVID,
    AuthenticationMethod,
    CredentialSource,
    PresentedCredentials,
    ReplayedCredentialError,
)
from .rate_limit import UNKNOWN_ISSUER, FailureLimiter

if TYPE_CHECKING:
    from .federated_jwt import FederatedClients

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
    """Authenticates the client of a request. `federated` finds the client of a token without `client_id`."""

    registry: ClientRegistry
    methods: Sequence[AuthenticationMethod[Any]]
    clock: Clock
    limiter: FailureLimiter | None = None
    federated: Callable[[], FederatedClients] | None = None

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
        client_id = limited = candidates[0].presented.unverified_client_id
        try:
            claims = _identifying_claims(candidates[0])
            if claims is not None:
                found = self._federated_client(claims, request, now)
                client_id, limited = found or client_id, found
            audit.claim_client(client_id)
            if self.limiter:
                self.limiter.check(limited or UNKNOWN_ISSUER, request.source_ip, now)
            client = self._authenticated(candidates, client_id, now, audit)
        except ReplayedCredentialError:
            raise
        except (InvalidClientError, OutdatedRecordError):
            count_failure(self.limiter, limited or UNKNOWN_ISSUER, request.source_ip, now, audit)
            raise
        audit.verify_client(client.client_id)
        return client

    def has_credentials(self, request: ProxyRequest, form: Form) -> bool:
        """Return whether a request authenticates its client, or attempts to.

        A certificate alone may only bind the token. It authenticates a client that is registered with such a method.

        Raises:
            InvalidRequestError: credentials in the URI.
        """
        _refuse_in_uri(request)
        kinds = CredentialSource(request, form).kinds()
        if kinds != [CERTIFICATE]:
            return bool(kinds)
        client_id = form.get("client_id") or ""
        if client_id.startswith(SPIFFE):
            client_id = self._federated_client(_workload_claims(client_id), request, self.clock()) or client_id
        client = self.registry.find(client_id)
        by_certificate = {method.name for method in self.methods if method.credential == CERTIFICATE}
        return client is not None and not by_certificate.isdisjoint(client.authentication_methods)

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
        _refuse_in_uri(request)
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
        self._check_same_client(candidates[0], form)
        return candidates

    def _check_same_client(self, candidate: _Candidate, form: Form) -> None:
        client_id = candidate.presented.unverified_client_id
        may_be_found = self.federated is not None and candidate.method.credential == CLIENT_ASSERTION
        if not (client_id or may_be_found):
            raise InvalidRequestError("The client_id is missing.")
        in_form = form.get("client_id")
        if in_form is not None and in_form != client_id:
            raise InvalidRequestError("The client_id differs from the authenticated client's.")

    def _federated_client(self, unverified_claims: Mapping[str, object], request: ProxyRequest, now: float) -> str:
        """Return the client of a token of another issuer, empty if there is none."""
        if self.federated is None:
            return ""
        federated = self.federated()
        if self.limiter and not federated.knows(unverified_claims):
            self.limiter.check(UNKNOWN_ISSUER, request.source_ip, now)
        return federated.find(unverified_claims, now)


def count_failure(limiter: FailureLimiter | None, name: str, source_ip: str, now: float, audit: AuditEntry) -> None:
    """Count a failure of a client or an issuer.

    Raises:
        TooManyFailuresError: it exceeds a limit.
    """
    if limiter is None:
        return
    try:
        limiter.count_failure(name, source_ip, now)
    except TooManyFailuresError as error:
        if isinstance(error.__cause__, StorageError):
            _log_uncounted(audit, error.__cause__)
        raise
    except StorageError as error:
        # The credentials are wrong, counted or not.
        _log_uncounted(audit, error)


def _identifying_claims(candidate: _Candidate) -> Mapping[str, object] | None:
    """Return the claims that identify a client of another issuer, None if the request names the client.

    A SPIFFE ID may be the `client_id`. draft-ietf-oauth-spiffe-client-auth-02, 3.1 and 3.2.
    """
    client_id, credential = candidate.presented.unverified_client_id, candidate.presented.credential
    if client_id.startswith(SPIFFE) and candidate.method.credential in (JWT_SVID, CERTIFICATE):
        return _workload_claims(client_id)
    claims: Mapping[str, object] | None = None if client_id else credential.unverified_claims
    return claims


def _workload_claims(spiffe_id: str) -> Mapping[str, object]:
    """Return the claims that identify a workload: the issuer is its trust domain."""
    return {"iss": SPIFFE + spiffe_id.removeprefix(SPIFFE).partition("/")[0], "sub": spiffe_id}


def _refuse_in_uri(request: ProxyRequest) -> None:
    if not CREDENTIAL_PARAMETERS.isdisjoint(request.query):
        raise InvalidRequestError("Client credentials must not be sent in the URI.")


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
    if candidate.presented.spiffe_id:
        audit.note(spiffe_id=candidate.presented.spiffe_id)
    return admissible


def _obstacle(client: Client | None, method: AuthenticationMethod[Any]) -> str | None:
    if client is None:
        return "unknown client"
    if client.disabled:
        return "the client is disabled"
    if method.name not in client.authentication_methods:
        return "the client may not use this method"
    return None


class LazyMethod:
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
