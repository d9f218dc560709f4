"""Refusals of the authorizer in plain words."""

from __future__ import annotations

from authorizer.reasons import Reason

__all__ = ["in_words", "is_about_the_request"]

_WORDS = {
    Reason.SIGNATURE_INVALID: "The signature is not over these bytes: somebody changed the token.",
    Reason.EXPIRED: "The signature is right, and the token's time is over.",
    Reason.KID_UNKNOWN: "The issuer has no key of the id that the token names.",
    Reason.TOKEN_INACTIVE: "The auth server says that this token is not active, and not why.",
    Reason.TOKEN_REVOKED: "The token was revoked.",
    Reason.AUD_OTHER: "The token is for another API.",
    Reason.SCHEME_WRONG: "This API accepts no token under this scheme.",
    Reason.PROOF_REQUIRED: "The token is bound to a key, and nothing proves possession of it.",
    Reason.PROOF_USED: "The DPoP proof was used before.",
    Reason.CERTIFICATE_MISSING: "The token is bound to a certificate, and the request has none.",
    Reason.CERTIFICATE_OTHER: "The token is bound to another certificate.",
    Reason.KEY_SET_UNAVAILABLE: (
        "There is no key set to judge the token by: none could be fetched, and none is at hand."
    ),
    Reason.INTROSPECTION_UNREACHABLE: "The introspection endpoint gave no answer.",
}


def in_words(reason: str) -> str:
    """Return a sentence for a reason; those that the console does not bring about keep its name."""
    try:
        return _WORDS[Reason(reason)]
    except (KeyError, ValueError):
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
