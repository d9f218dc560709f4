"""What the authorizer's reasons mean, in the words of whoever has to mend it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from authorizer.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """What the authorizer looks at, in its order."""

    READ = "read"
    HEADER = "header"
    ISSUER = "issuer"
    KEY = "key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    INTROSPECTION = "introspection"
    REVOCATION = "revocation"
    POSSESSION = "possession"
    SCOPES = "scopes"


_STAGES: Final[Mapping[str, Stage]] = {
    "credentials_": Stage.READ,
    "scheme_wrong": Stage.READ,
    "token_empty": Stage.READ,
    "token_too_long": Stage.READ,
    "token_encrypted": Stage.READ,
    "token_in_json_form": Stage.READ,
    "opaque_not_accepted": Stage.READ,
    "segment_": Stage.READ,
    "header_": Stage.HEADER,
    "alg_not_of_key": Stage.KEY,
    "alg_": Stage.HEADER,
    "crit_present": Stage.HEADER,
    "jwk_present": Stage.HEADER,
    "jku_present": Stage.HEADER,
    "x5u_present": Stage.HEADER,
    "x5c_present": Stage.HEADER,
    "x5t_present": Stage.HEADER,
    "b64_present": Stage.HEADER,
    "zip_present": Stage.HEADER,
    "enc_present": Stage.HEADER,
    "cty_present": Stage.HEADER,
    "typ_": Stage.HEADER,
    "kid_unknown": Stage.KEY,
    "kid_ambiguous": Stage.KEY,
    "kid_": Stage.HEADER,
    "payload_": Stage.ISSUER,
    "iss_": Stage.ISSUER,
    "key_": Stage.KEY,
    "signature_": Stage.SIGNATURE,
    "scope_insufficient": Stage.SCOPES,
    "token_not_bound": Stage.POSSESSION,
    "token_revoked": Stage.REVOCATION,
    "deny_list_": Stage.REVOCATION,
    "token_type": Stage.INTROSPECTION,
    "token_inactive": Stage.INTROSPECTION,
    "introspection_": Stage.INTROSPECTION,
    "proof_": Stage.POSSESSION,
    "htm_": Stage.POSSESSION,
    "htu_": Stage.POSSESSION,
    "nonce_": Stage.POSSESSION,
    "ath_": Stage.POSSESSION,
    "jkt_": Stage.POSSESSION,
    "certificate_": Stage.POSSESSION,
    "address_unknown": Stage.POSSESSION,
    "policy_": Stage.SCOPES,
    "api_rules_": Stage.SCOPES,
    "event_kind": Stage.SCOPES,
    "method_arn_": Stage.SCOPES,
    "unexpected": Stage.SCOPES,
}
"""The stage of each reason, by how its name begins; the first that fits counts."""

_WORDS: Final[Mapping[Reason, str]] = {
    Reason.CREDENTIALS_MALFORMED: "It has characters that no token has, such as a line's end.",
    Reason.SCHEME_WRONG: "It is presented with a DPoP proof, and this API takes none "
    "(ProofOfPossession).",
    Reason.SEGMENT_COUNT: "A JWT has three parts between dots. Was a part of it cut off?",
    Reason.TOKEN_ENCRYPTED: "It is encrypted (five parts); access tokens here are signed only.",
    Reason.OPAQUE_NOT_ACCEPTED: "It is opaque, and this authorizer asks no introspection endpoint.",
    Reason.ALG_NONE: "It says that it is not signed (alg none).",
    Reason.ALG_SYMMETRIC: "It is signed with a shared secret (HS…), which verifies nothing here.",
    Reason.ALG_NOT_ALLOWED: "Its algorithm is none that this authorizer is set to accept "
    "(ALGORITHMS).",
    Reason.ALG_NOT_OF_KEY: "The key that it names is for another algorithm.",
    Reason.TYP_NOT_ALLOWED: "Its typ says that it is no access token, or an at+jwt is required.",
    Reason.KID_MISSING: "It does not say which key signed it.",
    Reason.KID_UNKNOWN: "The issuer publishes no such key: it was withdrawn, its time is over, or "
    "it never was the issuer's.",
    Reason.KEY_SET_UNAVAILABLE: "The key set cannot be fetched, so nobody can tell.",
    Reason.SIGNATURE_INVALID: "The signature is not the named key's: the token was changed, or "
    "forged.",
    Reason.SIGNATURE_LENGTH: "The signature is too short or too long. Was the token cut off?",
    Reason.ISS_UNKNOWN: "It is another issuer's. Issuers are compared byte for byte.",
    Reason.AUD_MISSING: "It names no audience, and this API asks for one (AUDIENCE).",
    Reason.AUD_OTHER: "It is for other APIs than this one (AUDIENCE): ask for it with "
    "resource, or register the client's audience.",
    Reason.EXPIRED: "Its time is over. Get a new one.",
    Reason.NOT_YET_VALID: "Its time has not come. Is a clock wrong?",
    Reason.IAT_IN_FUTURE: "It was issued in the future. Is a clock wrong?",
    Reason.LIFETIME_TOO_LONG: "It lives longer than any token should (MAX_TOKEN_LIFETIME).",
    Reason.CLIENT_ID_NOT_ALLOWED: "Its client is not among those of this API (CLIENT_IDS).",
    Reason.ID_TOKEN: "It is an ID token, which is for the client and not for an API.",
    Reason.TOKEN_INACTIVE: "The server says that it is not active: expired, revoked, unknown, or "
    "none that this authorizer may see.",
    Reason.INTROSPECTION_CREDENTIALS: "The introspection endpoint refuses the authorizer's "
    "credentials: is its client registered? 'make smoke' does that.",
    Reason.INTROSPECTION_UNREACHABLE: "The introspection endpoint does not answer.",
    Reason.TOKEN_REVOKED: "It was revoked.",
    Reason.PROOF_REQUIRED: "It is bound to a key, and either the request proves nothing or this "
    "API takes no such proof (ProofOfPossession). Add --dpop-key or --certificate.",
    Reason.PROOF_MISSING: "It is bound to a key by DPoP, and there is no proof: add --dpop-key.",
    Reason.JKT_OTHER: "It is bound to another key than the one that made the proof.",
    Reason.TOKEN_NOT_BOUND: "It is bound to no key, and was presented with a proof.",
    Reason.CERTIFICATE_MISSING: "It is bound to a certificate: add --certificate.",
    Reason.CERTIFICATE_OTHER: "It is bound to another certificate.",
    Reason.POLICY_TOO_LARGE: "Its scopes open more routes than a policy can name.",
}


def stage_of(reason: Reason) -> Stage:
    """Return what the authorizer was looking at when it gave this reason."""
    return next(stage for start, stage in _STAGES.items() if reason.startswith(start))


def in_words(reason: Reason) -> str:
    """Return what a reason means."""
    known = _WORDS.get(reason)
    return known or f"It breaks the rule {reason.value} of a strict reader."
