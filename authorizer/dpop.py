"""DPoP proofs: the caller holds a key, proved for one request (RFC 9449, 4).

Pure. The caller checks `jti` replay, the expected nonce, and `ath`.
"""

import re
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from math import floor
from typing import NamedTuple
from urllib.parse import urlsplit

from . import base64url, claims, jws
from .errors import InvalidTokenError, Reason
from .jwk import InvalidKeyError, VerificationKey, parse_key
from .jwk_thumbprint import thumbprint
from .jws import PROOF_ALGORITHMS, HeaderRules, UnverifiedHeader, with_both_names

PROOF_TYPE = "dpop+jwt"
MAX_PROOF_AGE = 60
"""Seconds after `iat` for which a proof is valid and its `jti` must be stored."""

MAX_URL_LENGTH = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_THUMBPRINT = re.compile(claims.THUMBPRINT)
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ALLOWED_IN_SEGMENT = re.compile(r"[A-Za-z0-9._~:@!$&'()*+,;=-]")  # RFC 3986, 3.3, pchar


class VerifiedProof(NamedTuple):
    """The claims of a valid proof and the thumbprint of its key."""

    jkt: str
    jti: str
    issued_at: float
    nonce: str | None
    ath: str | None

    @property
    def replayable_until(self) -> int:
        """The time until which its `jti` must be stored. Times have fractions, which DynamoDB's TTL has not."""
        return floor(self.issued_at) + MAX_PROOF_AGE + 1


def verify_proof(
    unverified_proof: str,
    method: str,
    url: str,
    now: float,
    algorithms: frozenset[str] = PROOF_ALGORITHMS,
    *,
    path_was_decoded: bool = False,
) -> VerifiedProof:
    """Check a proof's header, key, signature and claims (RFC 9449, 4.3, checks 2 to 11).

    Args:
        unverified_proof: the value of the one DPoP header.
        method: the request's method, in upper case.
        url: the URL of the request, by configuration or by the event.
        now: the time, in seconds since the epoch.
        algorithms: the signature algorithms accepted.
        path_was_decoded: whether API Gateway decoded the URL's path, as HTTP APIs do. The proof may
            then escape any of the 13 reserved characters that a segment may have.

    Raises:
        InvalidTokenError: the proof is not valid for this request.
    """
    rules = HeaderRules(algorithms, frozenset((PROOF_TYPE,)), embedded_key=True)
    unverified = jws.parse(unverified_proof, rules)
    key = _embedded_key(unverified.header)
    key.verify(unverified.header.alg, unverified.signature, unverified.signing_input)
    unverified_claims = jws.parse_payload(unverified.payload)
    if unverified_claims.get("htm") != method:
        raise InvalidTokenError(Reason.HTM_OTHER)
    _check_url(unverified_claims.get("htu"), url, _ALLOWED_IN_SEGMENT if path_was_decoded else _UNRESERVED)
    return VerifiedProof(
        jkt=key.kid,
        jti=_required_jti(unverified_claims),
        issued_at=_fresh_issued_at(unverified_claims, now),
        nonce=_optional(unverified_claims, "nonce", Reason.NONCE_MALFORMED, _PRINTABLE),
        ath=_optional(unverified_claims, "ath", Reason.ATH_MALFORMED, _THUMBPRINT),
    )


def token_hash(token: str) -> str:
    """Return the `ath` of a proof for a token."""
    return base64url.encode(sha256(token.encode()).digest())


def proof_claims(method: str, url: str, now: float, token: str = "", nonce: str | None = None) -> dict[str, object]:
    """Return the claims of a new proof (RFC 9449, 4.2). `token` is the access token of the request, if it has one."""
    from uuid import uuid4  # Lambda makes no proofs

    proof: dict[str, object] = {"htm": method, "htu": url, "iat": int(now), "jti": str(uuid4())}
    if nonce is not None:
        proof["nonce"] = nonce
    if token:
        proof["ath"] = token_hash(token)
    return proof


def _embedded_key(header: UnverifiedHeader) -> VerificationKey:
    """Read the proof's own key, bound to the algorithm that the header names."""
    jwk = header.jwk or {}
    # A tuple, because the member may be a list, which has no hash.
    if jwk.get("alg", header.alg) not in tuple(with_both_names(frozenset((header.alg,)))):
        raise InvalidTokenError(Reason.ALG_NOT_OF_KEY)
    try:
        return parse_key({**jwk, "alg": header.alg, "kid": thumbprint(jwk)}, frozenset((header.alg,)))
    except InvalidKeyError as error:
        raise InvalidTokenError(error.reason) from None


def _required_jti(unverified_claims: Mapping[str, object]) -> str:
    jti = claims.read_jti(unverified_claims)
    if jti is None:
        raise InvalidTokenError(Reason.JTI_MISSING)
    return jti


def _fresh_issued_at(unverified_claims: Mapping[str, object], now: float) -> float:
    issued_at = claims.read_time(unverified_claims, "iat")
    if issued_at is None:
        raise InvalidTokenError(Reason.IAT_MISSING)
    if issued_at > now + claims.LEEWAY:
        raise InvalidTokenError(Reason.IAT_IN_FUTURE)
    if issued_at <= now - MAX_PROOF_AGE:
        raise InvalidTokenError(Reason.PROOF_TOO_OLD)
    return issued_at


def _optional(
    unverified_claims: Mapping[str, object], name: str, malformed: Reason, pattern: re.Pattern[str]
) -> str | None:
    value = unverified_claims.get(name)
    if value is None and name not in unverified_claims:
        return None
    if isinstance(value, str) and len(value) <= claims.MAX_TEXT_LENGTH and pattern.fullmatch(value):
        return value
    raise InvalidTokenError(malformed)


def _check_url(htu: object, url: str, never_escaped: re.Pattern[str]) -> None:
    """Compare `htu` with the URL, without query and fragment (RFC 9449, 4.3, check 9)."""
    if htu == url:
        return
    normal = normal_url(htu, never_escaped) if isinstance(htu, str) else None
    if normal is None or normal != normal_url(url, never_escaped):
        raise InvalidTokenError(Reason.HTU_OTHER)


def normal_url(url: str, never_escaped: re.Pattern[str] = _UNRESERVED) -> str | None:
    """Return a URL without query and fragment in normal form; None if it is not an HTTP URL.

    RFC 3986, 6.2.2 and 6.2.3: case of scheme and host, escapes, dots, the default port. Escapes of
    characters in `never_escaped` are decoded.
    """
    if len(url) > MAX_URL_LENGTH or not _PRINTABLE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if default_port is None or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = _without_dots(_ESCAPE.sub(partial(_normal_escape, never_escaped), parts.path))
    return f"{parts.scheme}://{host}:{default_port if port is None else port}{path}"


def _normal_escape(never_escaped: re.Pattern[str], match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if never_escaped.fullmatch(character) else match[0].upper()


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` (RFC 3986, 5.2.4); an empty path is `/`."""
    resolved: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del resolved[-1:]
        elif segment != ".":
            resolved.append(segment)
    if segments and segments[-1] in (".", ".."):
        resolved.append("")
    return "/" + "/".join(resolved)
