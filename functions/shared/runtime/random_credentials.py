"""Secrets and tokens that we make: 256 random bits, behind a prefix that scanners recognise."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Final

SCANNABLE_PREFIX: Final = "gh_"
"""How every one of them begins. What follows, up to the next underscore, is its kind."""

_RANDOM_BYTES: Final = 32


def random_credential(prefix: str) -> str:
    """Make one: a prefix, and 256 random bits in 43 characters of base64url."""
    return prefix + token_urlsafe(_RANDOM_BYTES)
