"""client_secret_basic and client_secret_post: the client sends a secret. RFC 6749, 2.3.1."""

import binascii
import re

from authorizer.cache import LRUCache

from ..clients.client import Client
from ..clients.client_secrets import SecretVerifier, WrongSecretError
from ..clients.supported import CLIENT_SECRET_BASIC, CLIENT_SECRET_POST
from ..lifetimes import DAY
from ..storage.errors import StorageError
from ..storage.state_table import SecretUses
from ..web.form import form_decode
from ..web.oauth_errors import InvalidClientError, InvalidRequestError
from .credentials import BASIC, SECRET_PARAMETER, AuthenticationMethod, CredentialSource, PresentedCredentials

_CACHED_USES = 2048
_NEVER_ENCODED = re.compile(r"[:=&]|%(?![0-9A-Fa-f]{2})")
"""Characters that form-encoding would have escaped."""


class SecretUseRecorder:
    """Stores the first use of each secret on each day, so that operators can find idle secrets.

    Uses are not part of the client's record. A change of a client replaces its whole record. A
    concurrent use would be lost, or would undo the change.
    """

    def __init__(self, uses: SecretUses) -> None:
        self._uses = uses
        self._days: LRUCache[tuple[str, str], int] = LRUCache(_CACHED_USES)

    def record(self, client_id: str, digest: str, now: float) -> None:
        """Record a use. Never fails, because authentication does not depend on it."""
        day = int(now) // DAY * DAY
        if self._days.get((client_id, digest)) == day:
            return
        # Cached before the write: a slow table must not delay each request of the day.
        self._days.put((client_id, digest), day)
        try:
            self._uses.record(client_id, digest, day)
        except StorageError:
            return


class _SecretMethod:
    """A method whose credential is a secret."""

    def __init__(self, secrets: SecretVerifier, uses: SecretUseRecorder | None = None) -> None:
        self._secrets = secrets
        self._uses = uses

    def verify(self, presented: PresentedCredentials[str], client: Client | None, now: float) -> None:
        """Verify the secret, and record its use."""
        try:
            stored = self._secrets.verify(presented.credential, client.secrets if client else (), now)
        except WrongSecretError:
            raise InvalidClientError(reason="wrong client secret") from None
        if client and self._uses:
            self._uses.record(client.client_id, stored.digest, now)


class ClientSecretBasic(_SecretMethod):
    """HTTP Basic, with user name and password form-encoded."""

    name: str = CLIENT_SECRET_BASIC
    credential: str = BASIC

    def read(self, source: CredentialSource) -> PresentedCredentials[str] | None:
        """Read the Authorization header."""
        authorization = source.request.header("authorization")
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise InvalidClientError(reason="the Authorization header is of another scheme")
        return _read_basic(credentials.lstrip(" "))  # one space or more: RFC 9110, 11.4


class ClientSecretPost(_SecretMethod):
    """`client_id` and `client_secret` in the form."""

    name: str = CLIENT_SECRET_POST
    credential: str = SECRET_PARAMETER

    def read(self, source: CredentialSource) -> PresentedCredentials[str] | None:
        """Read the two parameters."""
        secret = source.form.get("client_secret")
        if secret is None:
            return None
        return PresentedCredentials(source.form.get("client_id") or "", secret)


def secret_methods(
    uses: SecretUseRecorder | None = None,
) -> tuple[AuthenticationMethod[str], AuthenticationMethod[str]]:
    """Return both methods, with one cache of verified secrets."""
    secrets = SecretVerifier()
    return ClientSecretBasic(secrets, uses), ClientSecretPost(secrets, uses)


def _read_basic(credentials: str) -> PresentedCredentials[str]:
    try:
        text = binascii.a2b_base64(credentials, strict_mode=True).decode("ascii")
    except ValueError:
        # Not chained: the exception would carry the credentials.
        raise InvalidRequestError("The Basic credentials are malformed.") from None
    client_id, colon, secret = text.partition(":")
    if not colon or not text.isprintable():
        raise InvalidRequestError("The Basic credentials are malformed.")
    if "%" in text or "+" in text:
        client_id, secret = _decoded(client_id), _decoded(secret)
    return PresentedCredentials(client_id, secret)


def _decoded(part: str) -> str:
    """Decode a form-encoded part of Basic credentials. RFC 6749, 2.3.1.

    `curl -u` and many libraries do not encode. A part that cannot be form-encoded is therefore used verbatim.
    """
    return part if _NEVER_ENCODED.search(part) else form_decode(part)
