"""Claims of an access token, read into a frozen type (RFC 7519; RFC 8693, 4.2; RFC 9068)."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from .errors import InvalidTokenError, Reason

LEEWAY = 30
"""Tolerance in seconds for an issuer's clock that is ahead. Applied to `nbf` and `iat` only.

`exp` gets no leeway, because an issued JWT cannot be recalled.
"""

MAX_TEXT_LENGTH = 256
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, 3.3
THUMBPRINT = r"[A-Za-z0-9_-]{43}"  # a SHA-256 in base64url
DPOP_KEY = "jkt"  # RFC 9449, 6.1
CERTIFICATE = "x5t#S256"  # RFC 8705, 3.1
_CONFIRMATION_METHODS = frozenset((DPOP_KEY, CERTIFICATE))
_CLIENT_CLAIMS = ("client_id", "azp")
_VENDOR_CLIENT_CLAIMS = ("cid", "appid")
_SUBJECT_CLAIMS = ("sub", *_CLIENT_CLAIMS, *_VENDOR_CLIENT_CLAIMS)
ID_TOKEN_CLAIMS = frozenset(("nonce", "at_hash", "c_hash", "s_hash", "token_use"))
"""Claims of ID tokens. Cognito's `token_use` is in access tokens, too."""


class Confirmation(NamedTuple):
    """The key that a token is bound to: `jkt` (RFC 9449) or `x5t#S256` (RFC 8705)."""

    method: str
    thumbprint: str

    def to_cnf(self) -> dict[str, str]:
        """Return the `cnf` claim of a token that is bound to this key. RFC 7800, 3.1."""
        return {self.method: self.thumbprint}


def token_type(confirmation: Confirmation | None) -> str:
    """Return `token_type`. RFC 9449, 5; a token bound to a certificate is a bearer token."""
    return "DPoP" if confirmation and confirmation.method == DPOP_KEY else "Bearer"


NO_CLAIMS: Mapping[str, object] = {}


class ClaimRules(NamedTuple):
    """Rules for one issuer's tokens. An empty set of audiences or clients means any.

    `retained` names the claims of `VerifiedToken.claims`; None means all.
    """

    issuer: str
    audiences: frozenset[str]
    client_ids: frozenset[str]
    max_lifetime: float
    retained: frozenset[str] | None = frozenset()


class VerifiedToken(NamedTuple):
    """The claims of a verified token. Times are seconds since the epoch.

    `claims` has all claims as the issuer wrote them, or the members of the introspection response. In the Lambda
    authorizer it has those of `CONTEXT_CLAIMS` only. Several requests share the object: do not change it.
    """

    issuer: str
    subject: str
    client_id: str
    scopes: frozenset[str]
    expires_at: float
    not_before: float
    jti: str | None
    key_id: str | None
    confirmation: Confirmation | None
    claims: Mapping[str, object] = NO_CLAIMS


def read_access_token(
    claims: Mapping[str, object], rules: ClaimRules, now: float, *, key_id: str, rfc9068: bool
) -> VerifiedToken:
    """Check the claims of a token whose signature and issuer are verified.

    Raises:
        InvalidTokenError: a claim is missing, malformed or not acceptable now.
    """
    refuse_other_kinds(claims)
    if rfc9068:
        _require_rfc9068_claims(claims)
    return read_token(claims, rules, now, key_id=key_id)


def read_token(
    claims: Mapping[str, object],
    rules: ClaimRules,
    now: float,
    *,
    key_id: str | None,
    default_expiry: float | None = None,
) -> VerifiedToken:
    """Check the claims that all tokens have: those of a JWT, and the members of an introspection response.

    `default_expiry` is for tokens without `exp`. Without it, such a token is rejected.

    Raises:
        InvalidTokenError: a claim is missing, malformed or not acceptable now.
    """
    expiry = read_time(claims, "exp")
    expires_at = default_expiry if expiry is None else expiry
    if expires_at is None:
        raise InvalidTokenError(Reason.EXP_MISSING)
    issued_at = read_time(claims, "iat")
    not_before = read_not_before(claims, issued_at, expires_at)
    if expiry is not None:
        _check_lifetime(issued_at, expiry, rules.max_lifetime, now)
    check_audience(claims, rules.audiences)
    client_id = _read_client_id(claims, rules.client_ids)
    subject = read_subject(claims, client_id)
    token = VerifiedToken(
        rules.issuer,
        subject,
        client_id or subject,
        read_scopes(claims),
        expires_at,
        not_before,
        read_jti(claims),
        key_id,
        read_confirmation(claims),
        _retained_claims(claims, rules.retained),
    )
    check_times(token, now)
    return token


def _retained_claims(claims: Mapping[str, object], names: frozenset[str] | None) -> Mapping[str, object]:
    """Return the claims with these names; None means all."""
    if names is None:
        return claims
    return {name: value for name, value in claims.items() if name in names} if names else NO_CLAIMS


def check_times(token: VerifiedToken, now: float) -> None:
    """Return if the token is valid at this moment (RFC 7519, 4.1.4 to 4.1.6).

    Raises:
        InvalidTokenError: it is not valid yet, or expired. It is expired at `exp` itself.
    """
    if now >= token.expires_at:
        raise InvalidTokenError(Reason.EXPIRED)
    if token.not_before > now + LEEWAY:
        raise InvalidTokenError(Reason.NOT_YET_VALID)


def read_not_before(claims: Mapping[str, object], issued_at: float | None, expires_at: float) -> float:
    """Return the later of `nbf` and `iat`, 0 if there is neither."""
    not_before = read_time(claims, "nbf") or 0.0
    if issued_at is None:
        return not_before
    if issued_at >= expires_at:
        raise InvalidTokenError(Reason.IAT_AFTER_EXP)
    return max(not_before, issued_at)


def read_time(claims: Mapping[str, object], name: str) -> float | None:
    """Read a NumericDate; the parser has already refused numbers that are not finite."""
    value = claims.get(name)
    if (type(value) is int or type(value) is float) and value >= 0:  # a boolean is an int, too
        return value
    if value is None and name not in claims:
        return None
    raise InvalidTokenError(_MALFORMED_TIME[name])


def _check_lifetime(issued_at: float | None, expires_at: float, longest: float, now: float) -> None:
    """Reject a token from the future, or one whose lifetime is too long."""
    if issued_at is None:
        issued_at = now
    elif issued_at > now + LEEWAY:
        raise InvalidTokenError(Reason.IAT_IN_FUTURE)
    if expires_at - issued_at > longest:
        raise InvalidTokenError(Reason.LIFETIME_TOO_LONG)


def check_audience(claims: Mapping[str, object], accepted: frozenset[str]) -> None:
    """Check `aud`: well-formed if present, and an accepted one if any are (RFC 7519, 4.1.3).

    Hydra writes an empty list into tokens that were requested without an audience.
    """
    audience = claims.get("aud")
    if isinstance(audience, str) and audience in accepted:
        return
    if audience == [] and not accepted:
        return
    if audience is None and "aud" not in claims:
        if accepted:
            raise InvalidTokenError(Reason.AUD_MISSING)
        return
    audiences = one_or_more(audience)
    if audiences is None:
        raise InvalidTokenError(Reason.AUD_MALFORMED)
    if accepted and accepted.isdisjoint(audiences):
        raise InvalidTokenError(Reason.AUD_OTHER)


def one_or_more(value: object) -> frozenset[str] | None:
    """Read a text or a list of texts; None if it is something else, or if any of it is empty."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        return None
    return frozenset(texts) if all(isinstance(text, str) and text for text in texts) else None


def read_subject(claims: Mapping[str, object], client_id: str | None) -> str:
    """Read `sub`, which becomes API Gateway's principal; the client id if there is no `sub`.

    IdentityServer's tokens for machines name their client only.
    """
    subject = _optional_text(claims, "sub", Reason.SUB_MALFORMED) or client_id
    if subject is None:
        raise InvalidTokenError(Reason.SUB_MISSING)
    return subject


def read_jti(claims: Mapping[str, object]) -> str | None:
    """Read `jti`, None if there is none."""
    return _optional_text(claims, "jti", Reason.JTI_MALFORMED)


def _read_client_id(claims: Mapping[str, object], accepted: frozenset[str]) -> str | None:
    """Read the client that a token was issued to; None if none is named and any is accepted.

    `client_id` and `azp` are standard names. Without them, `cid` (Okta) and `appid` (Entra ID v1)
    are read; next to them, these names may be custom claims of another meaning.
    """
    client_id = _same_text(claims, _CLIENT_CLAIMS) or _same_text(claims, _VENDOR_CLIENT_CLAIMS)
    if accepted and client_id is None:
        raise InvalidTokenError(Reason.CLIENT_ID_MISSING)
    if accepted and client_id not in accepted:
        raise InvalidTokenError(Reason.CLIENT_ID_NOT_ALLOWED)
    return client_id


def _same_text(claims: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    """Read a text from any of these claims; those that are present must be equal."""
    found = None
    for name in names:
        if name in claims:
            text = _optional_text(claims, name, Reason.CLIENT_ID_MALFORMED)
            if found is not None and text != found:
                raise InvalidTokenError(Reason.CLIENT_ID_CONTRADICTION)
            found = text
    return found


def unverified_subject(unverified_claims: Mapping[str, object]) -> object:
    """Return the claim that `read_subject` would read, before anything is verified."""
    for name in _SUBJECT_CLAIMS:
        if name in unverified_claims:
            return unverified_claims[name]
    return None


def read_scopes(claims: Mapping[str, object]) -> frozenset[str]:
    """Read `scope`, or `scp` if there is no `scope`: a list or a space-separated string, maybe empty."""
    if "scope" not in claims:
        return _read_scopes(claims["scp"]) if "scp" in claims else frozenset()
    scopes = _read_scopes(claims["scope"])
    if "scp" in claims and _read_scopes(claims["scp"]) != scopes:
        raise InvalidTokenError(Reason.SCOPE_CONTRADICTION)
    return scopes


def _read_scopes(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return _scope_set(value) if value else frozenset()
    if isinstance(value, list) and all(isinstance(token, str) for token in value):
        return _scope_set(tuple(value))
    raise InvalidTokenError(Reason.SCOPE_MALFORMED)


# The tokens of a client have the same scopes. Only valid ones are cached.
@lru_cache(maxsize=256)
def _scope_set(value: str | tuple[str, ...]) -> frozenset[str]:
    tokens = value.split(" ") if isinstance(value, str) else value
    if not all(map(_SCOPE_TOKEN.fullmatch, tokens)):
        raise InvalidTokenError(Reason.SCOPE_MALFORMED)
    if "*" in tokens:
        raise InvalidTokenError(Reason.SCOPE_WILDCARD)
    return frozenset(tokens)


def read_confirmation(claims: Mapping[str, object]) -> Confirmation | None:
    """Read `cnf` (RFC 7800): one known method, and nothing else."""
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or not confirmation:
        raise InvalidTokenError(Reason.CNF_MALFORMED)
    if not _CONFIRMATION_METHODS.issuperset(confirmation):
        raise InvalidTokenError(Reason.CNF_UNKNOWN)
    if len(confirmation) > 1:
        raise InvalidTokenError(Reason.CNF_SEVERAL)
    method, thumbprint = next(iter(confirmation.items()))
    if not isinstance(thumbprint, str) or not re.fullmatch(THUMBPRINT, thumbprint):
        raise InvalidTokenError(Reason.CNF_MALFORMED)
    return Confirmation(method, thumbprint)


def context_name(claim: str) -> str:
    """Return the name of a claim in the authorizer's context, with a prefix that no other member has."""
    return "claim_" + re.sub(r"[^A-Za-z0-9_]", "_", claim)


def refuse_other_kinds(claims: Mapping[str, object]) -> None:
    """Reject ID tokens of a login and security events, which may have no `typ`. RFC 8725, 2.8."""
    found = ID_TOKEN_CLAIMS.intersection(claims)
    if found and not (found == {"token_use"} and claims["token_use"] == "access"):
        raise InvalidTokenError(Reason.ID_TOKEN)
    if "events" in claims:  # RFC 8417: security events, logout tokens
        raise InvalidTokenError(Reason.EVENT_TOKEN)


def _require_rfc9068_claims(claims: Mapping[str, object]) -> None:
    for name, reason in _RFC9068_CLAIMS.items():
        if name not in claims:
            raise InvalidTokenError(reason)


def _optional_text(claims: Mapping[str, object], name: str, malformed: Reason) -> str | None:
    """Read a short printable ASCII text: safe as a principal, as context and in the log."""
    value = claims.get(name)
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_LENGTH and value.isascii() and value.isprintable():
        return value
    if value is None and name not in claims:
        return None
    raise InvalidTokenError(malformed)


def is_scope(text: str) -> bool:
    """Return whether a token may have such a scope. A wildcard is not a scope."""
    return text != "*" and _SCOPE_TOKEN.fullmatch(text) is not None


@lru_cache(maxsize=256)
def join_scopes(scopes: frozenset[str]) -> str:
    """Write scopes as RFC 6749, 3.3 does, in alphabetical order."""
    return " ".join(sorted(scopes))


_MALFORMED_TIME = {"exp": Reason.EXP_MALFORMED, "nbf": Reason.NBF_MALFORMED, "iat": Reason.IAT_MALFORMED}
_RFC9068_CLAIMS = {  # 2.2; exp and iss are required of every token
    "aud": Reason.AUD_MISSING,
    "client_id": Reason.CLIENT_ID_MISSING,
    "iat": Reason.IAT_MISSING,
    "jti": Reason.JTI_MISSING,
    "sub": Reason.SUB_MISSING,
}
