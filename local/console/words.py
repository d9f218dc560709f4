"""Refusals of the authorizer in plain words."""

from __future__ import annotations

from authorizer.errors import Reason
from infra.explain import reason_text

__all__ = ["in_words", "is_about_the_request"]


def in_words(reason: str) -> str:
    """Return the explanation of a reason; an unknown reason is named."""
    try:
        return reason_text(Reason(reason))
    except ValueError:
        return f"The authorizer's reason is {reason}."


_OF_THE_REQUEST = frozenset(
    {
        Reason.SCHEME_WRONG,
        Reason.ISS_UNKNOWN,
        Reason.AUD_OTHER,
        Reason.CLIENT_ID_NOT_ALLOWED,
        Reason.LIFETIME_TOO_LONG,
        Reason.TYP_NOT_ALLOWED,
        Reason.OPAQUE_NOT_ACCEPTED,
        Reason.CNF_UNKNOWN,
        Reason.PROOF_REQUIRED,
        Reason.PROOF_MISSING,
        Reason.PROOF_SEVERAL,
        Reason.PROOF_TOO_OLD,
        Reason.PROOF_USED,
        Reason.HTM_OTHER,
        Reason.HTU_OTHER,
        Reason.NONCE_MALFORMED,
        Reason.ATH_MISSING,
        Reason.ATH_MALFORMED,
        Reason.ATH_OTHER,
        Reason.JKT_OTHER,
        Reason.TOKEN_NOT_BOUND,
        Reason.CERTIFICATE_MISSING,
        Reason.CERTIFICATE_MALFORMED,
        Reason.CERTIFICATE_OTHER,
    }
)
"""Reasons for which a valid token is rejected: this API, or this request, needs another."""


def is_about_the_request(reason: str) -> bool:
    """Whether a token may be valid although the authorizer has rejected it for this reason."""
    return reason in _OF_THE_REQUEST
