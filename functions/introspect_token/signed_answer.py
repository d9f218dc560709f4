"""Introspection answers as JWTs, for callers that must prove what they were told. RFC 9701."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.client_record import DEFAULT_SIGNING_ALGORITHM
from functions.shared.web.responses import NO_STORE, ProxyResponse, response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.keys.signers import SignerSource
    from functions.shared.web.proxy_request import ProxyRequest

MEDIA_TYPE: Final = "application/token-introspection+jwt"

_OK: Final = 200
_TYP: Final = "token-introspection+jwt"
_ZERO = re.compile(r"0(\.0*)?")


@dataclass(frozen=True, slots=True)
class AnswerSigner:
    """Signs answers with the keys that sign tokens. Their `typ` keeps the two apart."""

    issuer: str
    signers: SignerSource

    def answer(self, members: Mapping[str, Any], caller: str, now: float) -> ProxyResponse:
        """Return an answer for one caller alone.

        Its top level has no `sub` and no `exp`, so that it cannot pass for an access token with a
        reader that does not look at `typ`. RFC 9701, 5 and 8.1.
        """
        claims = {
            "iss": self.issuer,
            "aud": caller,
            "iat": floor(now),
            "token_introspection": members,
        }
        signer = self.signers.current(now, DEFAULT_SIGNING_ALGORITHM)
        headers = {"Content-Type": MEDIA_TYPE, **NO_STORE}
        return response(_OK, signer.sign(claims, _TYP), headers)


def wants_signed_answer(request: ProxyRequest) -> bool:
    """Whether the caller asks for a JWT: its Accept header names the media type. RFC 9701, 4."""
    ranges = [part for line in request.headers.get("accept", ()) for part in line.split(",")]
    return any(_accepts(media_range) for media_range in ranges)


def _accepts(media_range: str) -> bool:
    media_type, *parameters = media_range.split(";")
    if media_type.strip().lower() != MEDIA_TYPE:
        return False
    return not any(_is_zero_weight(parameter) for parameter in parameters)


def _is_zero_weight(parameter: str) -> bool:
    name, _, weight = parameter.partition("=")
    return name.strip().lower() == "q" and _ZERO.fullmatch(weight.strip()) is not None
