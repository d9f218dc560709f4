"""Client authentication: who is asking, by exactly one method, pinned per client.

A method is one class: `read` finds its mark in a request, `verify` checks it. Everything that any
method must not forget (one method at a time, one client_id, the client's own list of methods, the
same answer for every failure, a budget of failures) is in `ClientAuthentication`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from functions.shared.authentication.credentials import CERTIFICATE, UsedProofError
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from functions.shared.web.metrics import UNCOUNTED_FAILURES
from functions.shared.web.oauth_errors import (
    InvalidClientError,
    InvalidRequestError,
    TooManyFailuresError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.shared.authentication.credentials import Claimed
    from functions.shared.authentication.failure_throttle import FailureThrottle
    from functions.shared.clients.client_record import Client
    from functions.shared.clients.client_registry import ClientRegistry
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

CREDENTIAL_PARAMETERS: Final = frozenset({"client_id", "client_secret", "client_assertion"})


class OutdatedRecordError(StorageUnavailableError):
    """Raised when a cached record rejects a proof, and it cannot be read again just now.

    It counts as a failure, because guesses would otherwise have no limit in the meantime.
    """


class AuthenticationMethod(Protocol):
    """One way in which a client proves who it is. `name` is from RFC 7591, 2."""

    @property
    def name(self) -> str:
        """The method's registered name."""

    @property
    def credential(self) -> str:
        """The kind of credential that it reads."""

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Return what the request claims by this method, or None where it is not used."""

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the proof, with the same work whether or not there is a client.

        Raises:
            InvalidClientError: the proof is wrong, or there is no client.
        """


class _Presented(NamedTuple):
    """A method, and what a request claims by it."""

    method: AuthenticationMethod
    claimed: Claimed


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Authenticates the client behind a request."""

    registry: ClientRegistry
    methods: Sequence[AuthenticationMethod]
    clock: Clock
    throttle: FailureThrottle | None = None

    def authenticate(self, request: ProxyRequest, form: Form, entry: AuditEntry) -> Client:
        """Return the client that sent the request.

        Raises:
            InvalidRequestError: credentials in the URI, two methods at once, two different client
                ids, or credentials that cannot be read.
            InvalidClientError: no credentials or an unknown method; or, indistinguishably and after
                the same work: unknown client, disabled client, method not allowed, wrong proof.
            TooManyFailuresError: likewise, but too often; or whatever it sends, just after that.
            StorageUnavailableError: what the proof is checked with cannot be read just now.
        """
        now = self.clock()
        presented = self._presented(request, form)
        client_id = presented[0].claimed.unverified_client_id
        entry.claim_client(client_id)
        if self.throttle:
            self.throttle.check(client_id, request.source_ip, now)
        try:
            authenticated = self._authenticated(presented, client_id, now, entry)
        except UsedProofError:
            raise
        except (InvalidClientError, OutdatedRecordError):
            self._count_failure(client_id, request.source_ip, now, entry)
            raise
        entry.verify_client(authenticated.client_id)
        return authenticated

    def changed_since(self, client: Client, since: float) -> Client | None:
        """Return an authenticated client's record, if it has changed and the client is enabled.

        A refusal that depends on the record is decided again by it. `since` is the request's start.

        Raises:
            StorageUnavailableError: the record cannot be read just now.
        """
        current = self.registry.find_again(client.client_id, since)
        return None if current is None or current.disabled or current == client else current

    def _authenticated(
        self, presented: Sequence[_Presented], client_id: str, now: float, entry: AuditEntry
    ) -> Client:
        """Return the client. Its record is read again before an older one makes us reject.

        Raises:
            InvalidClientError: the proof is rejected by the record as it is now.
            OutdatedRecordError: it is rejected by an older record.
        """
        client = self.registry.find(client_id)
        try:
            return _verify(presented, client, now, entry)
        except UsedProofError:
            raise
        except InvalidClientError:
            try:
                current = self.registry.find_again(client_id, now)
            except StorageUnavailableError as error:
                raise OutdatedRecordError(reason=error.reason) from error.__cause__
            if current == client:
                raise
        return _verify(presented, current, now, entry)

    def _presented(self, request: ProxyRequest, form: Form) -> list[_Presented]:
        if not CREDENTIAL_PARAMETERS.isdisjoint(request.query):
            raise InvalidRequestError("Client credentials must not be sent in the URI.")
        presented = [
            _Presented(method, claimed)
            for method in self.methods
            if (claimed := method.read(request, form)) is not None
        ]
        # Where mutual TLS is on, every request has a certificate. It is a credential only where
        # there is no other: tokens can be bound to it, however the client authenticates.
        shown = [one for one in presented if one.method.credential != CERTIFICATE] or presented
        if not shown:
            raise InvalidClientError(reason="no client authentication was presented")
        if len(shown) > 1 and len({one.method.credential for one in shown}) > 1:
            raise InvalidRequestError("More than one client authentication method was used.")
        _check_same_client(shown[0].claimed, form)
        return shown

    def _count_failure(self, client_id: str, source_ip: str, now: float, entry: AuditEntry) -> None:
        if self.throttle is None:
            return
        try:
            self.throttle.count_failure(client_id, source_ip, now)
        except TooManyFailuresError as refusal:
            if isinstance(refusal.__cause__, StorageError):
                _note_uncounted(entry, refusal.__cause__)
            raise
        except StorageError as error:
            # The secret is wrong whether or not it could be counted.
            _note_uncounted(entry, error)


def _note_uncounted(entry: AuditEntry, error: StorageError) -> None:
    entry.note(not_counted=error.reason)
    entry.count(UNCOUNTED_FAILURES)


def _meant(presented: Sequence[_Presented], client: Client | None) -> _Presented:
    """Return the method that the client is registered with, among those that read the same."""
    if len(presented) == 1:
        return presented[0]
    allowed = client.authentication_methods if client else frozenset()
    return next((one for one in presented if one.method.name in allowed), presented[0])


def _verify(
    presented: Sequence[_Presented], client: Client | None, now: float, entry: AuditEntry
) -> Client:
    if client is not None:
        entry.recognize_client(client.client_id)
    method, claimed = _meant(presented, client)
    entry.note(authentication_method=method.name)
    obstacle = _obstacle(client, method)
    # A client that may not come in is verified like one that does not exist.
    admissible = None if obstacle else client
    try:
        method.verify(claimed, admissible, now)
    except UsedProofError:
        raise
    except InvalidClientError as error:
        raise InvalidClientError(reason=obstacle or error.reason) from None
    if admissible is None:
        raise InvalidClientError(reason=obstacle)
    return admissible


def _obstacle(client: Client | None, method: AuthenticationMethod) -> str | None:
    if client is None:
        return "unknown client"
    if client.disabled:
        return "the client is disabled"
    if method.name not in client.authentication_methods:
        return "the client may not use this method"
    return None


def _check_same_client(claimed: Claimed, form: Form) -> None:
    if not claimed.unverified_client_id:
        raise InvalidRequestError("The client_id is missing.")
    in_form = form.get("client_id")
    if in_form is not None and in_form != claimed.unverified_client_id:
        raise InvalidRequestError("The client_id differs from the authenticated client's.")
