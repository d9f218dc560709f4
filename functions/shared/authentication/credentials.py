"""Credentials of a request, before they are verified."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from authorizer import jws
from authorizer.errors import InvalidTokenError
from authorizer.jws import ALGORITHMS, HeaderRules, UnverifiedJws

from ..clients.client import Client
from ..clients.supported import SVID_ALGORITHMS
from ..storage.state_table import AlreadyUsedError
from ..web.form import Form
from ..web.oauth_errors import InvalidClientError, InvalidRequestError
from ..web.proxy_request import ProxyRequest

Credential = TypeVar("Credential")

# Kinds of credentials. Two methods that read the same kind do not exclude each other: the client's
# registration decides which one applies.
BASIC = "the Authorization header"
SECRET_PARAMETER = "client_secret"
CLIENT_ASSERTION = "client_assertion"
JWT_SVID = "the JWT-SVID in client_assertion"
CERTIFICATE = "the client certificate"

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SPIFFE_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
CLIENT_AUTHENTICATION_TYPE = "client-authentication+jwt"
ASSERTION_TYPES = frozenset({None, "jwt", "jose", CLIENT_AUTHENTICATION_TYPE})
"""Accepted `typ` headers. Access tokens (at+jwt) and DPoP proofs have others."""

_HEADER_RULES = {
    ASSERTION_TYPE: HeaderRules(ALGORITHMS, ASSERTION_TYPES, key_id_required=False),
    # JWT-SVID, 2.1 and 2.3.
    SPIFFE_ASSERTION_TYPE: HeaderRules(SVID_ALGORITHMS, frozenset({None, "jwt", "jose"}), key_id_required=False),
}


class ReplayedCredentialError(InvalidClientError):
    """Raised when a valid assertion is replayed.

    The client gets `invalid_client`. The replay is not counted as a failed guess. A client that
    repeats a request after a lost response would otherwise run out of attempts.
    """


@dataclass(frozen=True, slots=True)
class PresentedAssertion:
    """A client assertion, parsed once. Its signature is not verified yet. RFC 7521, 4.2."""

    jws: UnverifiedJws = field(repr=False)
    unverified_claims: Mapping[str, object] = field(repr=False)

    @property
    def is_self_issued(self) -> bool:
        """True if its issuer is its subject, as in private_key_jwt. RFC 7523, 3, items 1 and 2."""
        subject = self.unverified_claims.get("sub")
        return isinstance(subject, str) and self.unverified_claims.get("iss") == subject


@dataclass(slots=True)  # a frozen one takes longer to create
class PresentedCredentials(Generic[Credential]):
    """The client that a request names, and a secret, an assertion or a certificate.

    Verification sets `spiffe_id` to the workload: several workloads may be one client.
    """

    unverified_client_id: str
    credential: Credential = field(repr=False)
    spiffe_id: str | None = None


@dataclass
class CredentialSource:
    """The parts of a request that can hold credentials."""

    request: ProxyRequest
    form: Form

    def kinds(self) -> list[str]:
        """Return the kinds of credentials that the request has, valid or not."""
        form, kinds = self.form.values, []
        if "authorization" in self.request.headers:
            kinds.append(BASIC)
        if "client_secret" in form:
            kinds.append(SECRET_PARAMETER)
        if "client_assertion" in form or "client_assertion_type" in form:
            is_svid = self.form.get("client_assertion_type") == SPIFFE_ASSERTION_TYPE
            kinds.append(JWT_SVID if is_svid else CLIENT_ASSERTION)
        if self.request.client_certificate is not None:
            kinds.append(CERTIFICATE)
        return kinds

    @cached_property
    def assertion(self) -> PresentedAssertion | None:
        """The client assertion in the form, None without one.

        Raises:
            InvalidRequestError: one of the two parameters is missing.
            InvalidClientError: another type, or not a JWT that can be an assertion. RFC 6749, 5.2.
        """
        token = self.form.get("client_assertion")
        assertion_type = self.form.get("client_assertion_type")
        if token is None and assertion_type is None:
            return None
        if token is None or assertion_type is None:
            raise InvalidRequestError("client_assertion and client_assertion_type go together.")
        if assertion_type not in _HEADER_RULES:
            raise InvalidClientError(reason="the client_assertion_type is not supported")
        return parse_assertion(token, assertion_type)


def parse_assertion(token: str, assertion_type: str = ASSERTION_TYPE) -> PresentedAssertion:
    """Parse a JWT that can be an assertion of this type, without verifying it.

    Raises:
        InvalidClientError: it is not one.
    """
    with assertion_errors():
        parsed = jws.parse(token, _HEADER_RULES[assertion_type])
        return PresentedAssertion(parsed, jws.parse_payload(parsed.payload))


@contextmanager
def assertion_errors() -> Iterator[None]:
    """Turn every error of an assertion into the same response.

    Raises:
        InvalidClientError: its reason, which is logged only, names the error.
    """
    try:
        yield
    except InvalidTokenError as error:
        raise InvalidClientError(reason=f"client assertion: {error.reason}") from None
    except AlreadyUsedError:
        raise ReplayedCredentialError(reason="client assertion: used before") from None


class AuthenticationMethod(Protocol[Credential]):
    """A method of client authentication. `name` is from RFC 7591, 2."""

    @property
    def name(self) -> str:
        """The method's registered name."""

    @property
    def credential(self) -> str:
        """The kind of credential that it reads."""

    def read(self, source: CredentialSource) -> PresentedCredentials[Credential] | None:
        """Return the credentials of this method in a request, None without any."""

    def verify(self, presented: PresentedCredentials[Credential], client: Client | None, now: float) -> None:
        """Verify credentials, in the same time with and without a client.

        Raises:
            InvalidClientError: they are wrong, or there is no client.
        """
