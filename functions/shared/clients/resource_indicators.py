"""Resource indicators: the URIs by which a client names the API that it wants to call. RFC 8707."""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 512

_ABSOLUTE_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
)


def is_resource_indicator(text: str) -> bool:
    """Whether a text is an absolute URI without a fragment. RFC 8707, 2, and RFC 3986, 4.3."""
    return len(text) <= MAX_LENGTH and _ABSOLUTE_URI.fullmatch(text) is not None
