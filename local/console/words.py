"""Refusals of the authorizer in plain words."""

from __future__ import annotations

from authorizer.reasons import Reason

__all__ = ["in_words"]

_WORDS = {
    Reason.SIGNATURE_INVALID: "The signature is not over these bytes: somebody changed the token.",
    Reason.EXPIRED: "The signature is right, and the token's time is over.",
    Reason.KID_UNKNOWN: "The issuer has no key of the id that the token names.",
    Reason.TOKEN_INACTIVE: "The auth server says that this token is not active, and not why.",
    Reason.TOKEN_REVOKED: "The token was revoked.",
    Reason.AUD_OTHER: "The token is for another API.",
    Reason.SCHEME_WRONG: (
        "The token comes with a DPoP proof, and this stack takes none: ProofOfPossession in "
        "template.yaml is empty. A bound token is never taken without its proof."
    ),
    Reason.PROOF_REQUIRED: "The token is bound to a key, and nothing proves possession of it.",
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
