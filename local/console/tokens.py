"""Tokens taken apart to be shown, and made wrong on purpose."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NoJwtError", "decode", "is_bound_to_certificate", "is_jwt", "moved_back", "tampered"]


class NoJwtError(ValueError):
    """Raised when what has the parts of a JWT cannot be read as one."""


def is_jwt(token: str) -> bool:
    """Whether a token has the three parts of a JWT in its compact form."""
    return token.count(".") == 2


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT. Nothing is verified.

    Raises:
        NoJwtError: it is none.
    """
    try:
        header, claims, _ = token.split(".")
        return _decode_segment(header), _decode_segment(claims)
    except ValueError:
        raise NoJwtError("This is no JWT.") from None


def is_bound_to_certificate(token: str) -> bool:
    """Whether a token is a JWT that is bound to a certificate (RFC 8705, 3.1)."""
    try:
        confirmation = decode(token)[1].get("cnf")
    except NoJwtError:
        return False
    return isinstance(confirmation, dict) and "x5t#S256" in confirmation


def tampered(token: str) -> str:
    """Return a token in which one thing was changed after it had been issued.

    Of a JWT it is the subject, with the signature as it was; of an opaque token one character.
    """
    if not is_jwt(token):
        last = "A" if token[-1] != "A" else "B"
        return token[:-1] + last
    header, _, signature = token.split(".")
    claims = decode(token)[1] | {"sub": "somebody-else"}
    return f"{header}.{_encoded_segment(claims)}.{signature}"


def moved_back(claims: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Return claims whose times are earlier by some seconds."""
    times = {name: claims[name] - seconds for name in ("iat", "nbf", "exp") if name in claims}
    return {**claims, **times}


def _encoded_segment(members: Mapping[str, Any]) -> str:
    """Write a JSON object as a part of a JWT."""
    text = json.dumps(members, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decode_segment(segment: str) -> dict[str, Any]:
    members = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    if not isinstance(members, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error for all that is no JWT
    return members
