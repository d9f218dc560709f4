"""client_secret_basic and client_secret_post: a client shows a secret. RFC 6749, 2.3.1."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.shared.authentication.credentials import BASIC, SECRET_PARAMETER, Claimed
from functions.shared.clients.authentication_methods import CLIENT_SECRET_BASIC, CLIENT_SECRET_POST
from functions.shared.clients.client_secrets import SecretVerifier, WrongSecretError
from functions.shared.web.form import form_decode
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError

if TYPE_CHECKING:
    from functions.shared.authentication.client_authentication import AuthenticationMethod
    from functions.shared.authentication.secret_use import WarmSecretUses
    from functions.shared.clients.client_record import Client
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

_NEVER_ENCODED = re.compile(r"[:=&]|%(?![0-9A-Fa-f]{2})")
"""What form-encoding would have escaped."""


@dataclass(frozen=True, slots=True)
class ClientSecretBasic:
    """HTTP Basic, both parts form-encoded."""

    secrets: SecretVerifier
    uses: WarmSecretUses | None = None
    name: str = CLIENT_SECRET_BASIC
    credential: str = BASIC

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read the Authorization header."""
        authorization = request.header("authorization")
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise InvalidClientError(reason="the Authorization header is of another scheme")
        return _read_basic(credentials.lstrip(" "))  # one space or more: RFC 9110, 11.4

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the secret, and note its use."""
        _verify_secret(self, claimed, client, now)


@dataclass(frozen=True, slots=True)
class ClientSecretPost:
    """`client_id` and `client_secret` in the form."""

    secrets: SecretVerifier
    uses: WarmSecretUses | None = None
    name: str = CLIENT_SECRET_POST
    credential: str = SECRET_PARAMETER

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read the two parameters."""
        secret = form.get("client_secret")
        if secret is None:
            return None
        # Beside HTTP Basic the id may stand there alone; two methods are refused by the caller.
        return Claimed(form.get("client_id") or "", secret)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the secret, and note its use."""
        _verify_secret(self, claimed, client, now)


def secret_methods(uses: WarmSecretUses | None = None) -> tuple[AuthenticationMethod, ...]:
    """Both methods with a client secret, sharing what they remember."""
    secrets = SecretVerifier()
    return ClientSecretBasic(secrets, uses), ClientSecretPost(secrets, uses)


def _verify_secret(
    method: ClientSecretBasic | ClientSecretPost,
    claimed: Claimed,
    client: Client | None,
    now: float,
) -> None:
    try:
        secret = method.secrets.verify(claimed.proof, client.secrets if client else (), now)
    except WrongSecretError:
        raise InvalidClientError(reason="wrong client secret") from None
    if client and method.uses:
        method.uses.note(client.client_id, secret.digest, now)


def _read_basic(credentials: str) -> Claimed:
    try:
        text = binascii.a2b_base64(credentials, strict_mode=True).decode("ascii")
    except ValueError:
        # Not chained: the exception would carry the credentials.
        raise InvalidRequestError("The Basic credentials are malformed.") from None
    client_id, colon, secret = text.partition(":")
    if not colon or not text.isprintable():
        raise InvalidRequestError("The Basic credentials are malformed.")
    return Claimed(_decoded(client_id), _decoded(secret))


def _decoded(part: str) -> str:
    """Undo the form-encoding of a part of Basic credentials. RFC 6749, 2.3.1.

    `curl -u` and many libraries encode nothing. Where a part cannot have been encoded, it is taken
    as it stands, which is how it was meant.
    """
    return part if _NEVER_ENCODED.search(part) else form_decode(part)
