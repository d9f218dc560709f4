"""Assertions: JWTs in the form parameter `client_assertion`. RFC 7521, 4.2, and RFC 7523, 2.2.

What is common to those that a client signs itself and those that another issuer signs for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, Final

from authorizer import claims as claim_reading
from authorizer import jws
from authorizer.claims import LEEWAY
from authorizer.errors import TokenRefused
from authorizer.jwk import ALGORITHMS
from authorizer.jws import HeaderRules
from authorizer.reasons import Reason
from authorizer.recent import Recent
from functions.shared.authentication.credentials import UsedProofError
from functions.shared.storage.state_table import AlreadyUsedError
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from authorizer.jwk import VerificationKey
    from authorizer.jws import UnverifiedJws
    from functions.shared.storage.state_table import OneTimeUse
    from functions.shared.web.form import Form

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_AUTHENTICATION_TYPE: Final = "client-authentication+jwt"

_REMEMBERED_SUBJECTS: Final = 1024

_ANY_HEADER = HeaderRules(
    ALGORITHMS,
    frozenset({None, "jwt", "jose", CLIENT_AUTHENTICATION_TYPE}),
    key_id_required=False,
)


@dataclass(frozen=True, slots=True)
class UnverifiedAssertion:
    """An assertion, before anything of it is verified."""

    token: str = field(repr=False)
    issuer: object
    subject: object

    @property
    def is_own(self) -> bool:
        """Whether its issuer speaks of itself, as a client does. RFC 7523, 3, items 1 and 2."""
        return isinstance(self.subject, str) and self.issuer == self.subject


def read_assertion(form: Form) -> UnverifiedAssertion | None:
    """Return the assertion in a form, or None where there is none.

    Raises:
        InvalidRequestError: one of the two parameters is missing.
        InvalidClientError: another type, or no JWT that could be one. RFC 6749, 5.2.
    """
    token, assertion_type = form.get("client_assertion"), form.get("client_assertion_type")
    if token is None and assertion_type is None:
        return None
    if token is None or assertion_type is None:
        raise InvalidRequestError("client_assertion and client_assertion_type go together.")
    if assertion_type != ASSERTION_TYPE:
        raise InvalidClientError(reason="the client_assertion_type is not supported")
    with assertion_refusals():
        claims = jws.parse_payload(jws.parse(token, _ANY_HEADER).payload)
    return UnverifiedAssertion(token, claims.get("iss"), claims.get("sub"))


@contextmanager
def assertion_refusals() -> Iterator[None]:
    """Turn every refusal of an assertion into the one answer that says nothing.

    Raises:
        InvalidClientError: whatever was wrong with it.
    """
    try:
        yield
    except TokenRefused as refused:
        raise InvalidClientError(reason=f"client assertion: {refused.reason}") from None
    except AlreadyUsedError:
        raise UsedProofError(reason="client assertion: used before") from None


def verify_signature(
    unverified: UnverifiedJws, key: VerificationKey | None, decoy: VerificationKey
) -> Mapping[str, object]:
    """Return the claims that a key has signed. Without a key the decoy does the same work.

    Raises:
        TokenRefused: there is no key, or it did not sign them.
    """
    checked_by = key or decoy
    if checked_by.alg != unverified.header.alg:
        raise TokenRefused(Reason.ALG_NOT_OF_KEY)
    checked_by.verify(unverified.signature, unverified.signing_input)
    return jws.parse_payload(unverified.payload)


def check_sole_audience(claims: Mapping[str, object], accepted: Collection[str]) -> None:
    """Return if the assertion is for us alone. RFC 7523, 3, item 3, as updated by RFC 10070.

    An array with one member is as good as the text: it names nobody else.

    Raises:
        TokenRefused: it is for someone else, or for someone else too.
    """
    claim_reading.check_audience(claims, frozenset(accepted))
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1:
        raise TokenRefused(Reason.AUD_OTHER)


def read_expiry(claims: Mapping[str, object], now: float) -> float:
    """Return `exp`, and check it with `nbf` and `iat`. RFC 7523, 3, items 4 to 6.

    Raises:
        TokenRefused: it is missing or has passed, or another time has not come.
    """
    expires_at = claim_reading.read_time(claims, "exp")
    if expires_at is None:
        raise TokenRefused(Reason.EXP_MISSING)
    if now >= expires_at:
        raise TokenRefused(Reason.EXPIRED)
    if claim_reading.read_not_before(claims, expires_at) > now + LEEWAY:
        raise TokenRefused(Reason.NOT_YET_VALID)
    return expires_at


class VerifiedBefore:
    """The subjects whose assertions this process has verified: they may use a reserved fetch."""

    def __init__(self) -> None:
        self._subjects: Recent[tuple[str, ...], bool] = Recent(_REMEMBERED_SUBJECTS)

    def note(self, *subject: str) -> None:
        """Remember a subject whose assertion was verified."""
        self._subjects.put(subject, value=True)

    def issued_at(self, unverified_claims: Mapping[str, object], *subject: str) -> float | None:
        """Return when an assertion says it was issued; None if its subject is not known here.

        An assertion without `iat` is taken for one that is issued now, whenever that is.
        """
        if not self._subjects.get(subject):
            return None
        issued_at = claim_reading.read_time(unverified_claims, "iat")
        return inf if issued_at is None else issued_at


@dataclass(frozen=True, slots=True)
class OneTime:
    """Makes sure that assertions of one kind count once each."""

    kind: str
    used: OneTimeUse

    def use(self, owner: str, claims: Mapping[str, object], expires_at: float, now: float) -> None:
        """Use `owner`'s `jti`, which is required, for the first time. RFC 7523, 3, item 7.

        The last of all checks: an assertion that is refused for anything else stays unused.

        Raises:
            TokenRefused: there is no `jti`.
            AlreadyUsedError: it was used before.
        """
        token_id = claim_reading.read_jti(claims)
        if token_id is None:
            raise TokenRefused(Reason.JTI_MISSING)
        # Longer than it counts: the clocks of two processes differ.
        self.used.consume(self.kind, owner, token_id, ceil(expires_at) + LEEWAY, now)
