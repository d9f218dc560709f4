"""Client authentication: who is asking, by exactly one method, pinned per client.

A method is one class: `read` finds its mark in a request, `verify` checks it. Everything that any
method must not forget (one method at a time, one client_id, the client's own list of methods, the
same answer for every failure) is in `ClientAuthentication`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from functions.shared.client_secrets import SecretVerifier, WrongSecretError
from functions.shared.form import form_decode
from functions.shared.oauth_errors import InvalidClientError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.shared.audit_log import AuditEntry
    from functions.shared.client_record import Client
    from functions.shared.client_registry import ClientRegistry
    from functions.shared.clock import Clock
    from functions.shared.form import Form
    from functions.shared.proxy_request import ProxyRequest

CREDENTIAL_PARAMETERS: Final = frozenset({"client_id", "client_secret", "client_assertion"})

_VISIBLE = re.compile(r"[\x20-\x7E]*")


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a request claims before anything about it is verified."""

    unverified_client_id: str
    proof: str = field(repr=False)


class AuthenticationMethod(Protocol):
    """One way in which a client proves who it is. `name` is from RFC 7591, section 2."""

    @property
    def name(self) -> str:
        """The method's registered name."""

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Return what the request claims by this method, or None where it is not used."""

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the proof, with the same work whether or not there is a client.

        Raises:
            InvalidClientError: the proof is wrong, or there is no client.
        """


@dataclass(frozen=True, slots=True)
class ClientSecretBasic:
    """HTTP Basic, both parts form-encoded. RFC 6749, 2.3.1."""

    secrets: SecretVerifier
    name: str = "client_secret_basic"

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:  # noqa: ARG002
        """Read the Authorization header."""
        authorization = request.header("authorization")
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise InvalidClientError(reason="the Authorization header is of another scheme")
        return _read_basic(credentials)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the secret."""
        _verify_secret(self.secrets, claimed, client, now)


@dataclass(frozen=True, slots=True)
class ClientSecretPost:
    """`client_id` and `client_secret` in the form. RFC 6749, 2.3.1."""

    secrets: SecretVerifier
    name: str = "client_secret_post"

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:  # noqa: ARG002
        """Read the two parameters."""
        secret = form.get("client_secret")
        if secret is None:
            return None
        # Beside HTTP Basic the id may stand there alone; two methods are refused by the caller.
        return Claimed(form.get("client_id") or "", secret)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the secret."""
        _verify_secret(self.secrets, claimed, client, now)


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Authenticates the client behind a request."""

    registry: ClientRegistry
    methods: Sequence[AuthenticationMethod]
    clock: Clock

    def authenticate(self, request: ProxyRequest, form: Form, entry: AuditEntry) -> Client:
        """Return the client that sent the request.

        Raises:
            InvalidRequestError: credentials in the URI, two methods at once, two different client
                ids, or credentials that cannot be read.
            InvalidClientError: no credentials or an unknown method; or, indistinguishably and after
                the same work: unknown client, disabled client, method not allowed, wrong proof.
        """
        method, claimed = self._presented(request, form)
        client = self.registry.find(claimed.unverified_client_id)
        entry.note(authentication_method=method.name)
        entry.note_unverified(client_id=claimed.unverified_client_id)
        obstacle = _obstacle(client, method)
        # A client that may not come in is verified like one that does not exist.
        admissible = None if obstacle else client
        try:
            method.verify(claimed, admissible, self.clock())
        except InvalidClientError as error:
            raise InvalidClientError(reason=obstacle or error.reason) from None
        if admissible is None:
            raise InvalidClientError(reason=obstacle)
        entry.verify_client(admissible.client_id)
        return admissible

    def _presented(self, request: ProxyRequest, form: Form) -> tuple[AuthenticationMethod, Claimed]:
        if not CREDENTIAL_PARAMETERS.isdisjoint(request.query):
            raise InvalidRequestError("Client credentials must not be sent in the URI.")
        presented = [
            (method, claimed)
            for method in self.methods
            if (claimed := method.read(request, form)) is not None
        ]
        if not presented:
            raise InvalidClientError(reason="no client authentication was presented")
        if len(presented) > 1:
            raise InvalidRequestError("More than one client authentication method was used.")
        _check_same_client(presented[0][1], form)
        return presented[0]


def secret_methods() -> tuple[AuthenticationMethod, ...]:
    """Both methods with a client secret, sharing what they remember."""
    secrets = SecretVerifier()
    return ClientSecretBasic(secrets), ClientSecretPost(secrets)


def _obstacle(client: Client | None, method: AuthenticationMethod) -> str | None:
    if client is None:
        return "unknown client"
    if client.disabled:
        return "the client is disabled"
    if method.name not in client.authentication_methods:
        return "the client may not use this method"
    return None


def _verify_secret(
    secrets: SecretVerifier, claimed: Claimed, client: Client | None, now: float
) -> None:
    try:
        secrets.verify(claimed.proof, client.secrets if client else (), now)
    except WrongSecretError:
        raise InvalidClientError(reason="wrong client secret") from None


def _check_same_client(claimed: Claimed, form: Form) -> None:
    if not claimed.unverified_client_id:
        raise InvalidRequestError("The client_id is missing.")
    in_form = form.get("client_id")
    if in_form is not None and in_form != claimed.unverified_client_id:
        raise InvalidRequestError("The client_id differs from the authenticated client's.")


def _read_basic(credentials: str) -> Claimed:
    try:
        text = base64.b64decode(credentials, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        # Not chained: the exception would carry the credentials.
        raise InvalidRequestError("The Basic credentials are malformed.") from None
    client_id, colon, secret = text.partition(":")
    if not colon or ":" in secret or not _VISIBLE.fullmatch(text):
        raise InvalidRequestError("The Basic credentials are malformed.")
    return Claimed(form_decode(client_id), form_decode(secret))
