"""What the authorizer's reasons mean, in the words of whoever has to mend it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from authorizer.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """What the authorizer looks at, in its order."""

    RULES = "rules"
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
    "aud_": Stage.CLAIMS,
    "exp": Stage.CLAIMS,
    "lifetime_": Stage.CLAIMS,
    "nbf_": Stage.CLAIMS,
    "not_yet_valid": Stage.CLAIMS,
    "iat_": Stage.CLAIMS,
    "sub_": Stage.CLAIMS,
    "jti_": Stage.CLAIMS,
    "client_id_": Stage.CLAIMS,
    "id_token": Stage.CLAIMS,
    "event_token": Stage.CLAIMS,
    "cnf_": Stage.CLAIMS,
    "scope_insufficient": Stage.SCOPES,
    "scope_": Stage.CLAIMS,
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
    "api_rules_": Stage.RULES,
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
    Reason.CREDENTIALS_MISSING: "There is no Authorization header, or no token in it.",
    Reason.CREDENTIALS_SEVERAL: "The request carries more than one token: send one, in one "
    "Authorization header.",
    Reason.TOKEN_EMPTY: "The token is empty.",
    Reason.TOKEN_TOO_LONG: "It is longer than 8 KB. Ask for fewer scopes.",
    Reason.TOKEN_IN_JSON_FORM: "It is a JWS in JSON; only the compact form with two dots is read.",
    Reason.SEGMENT_LENGTH: "One of its parts has a length that base64url cannot have. Was it cut "
    "off?",
    Reason.SEGMENT_PADDED: "One of its parts ends with =, which a JWT's parts never do.",
    Reason.SEGMENT_WHITESPACE: "It has white space within. Was it wrapped on its way?",
    Reason.SEGMENT_ALPHABET: "It has characters that are not base64url. Was it encoded another "
    "way, such as for a URL?",
    Reason.SEGMENT_SPARE_BITS: "A part's last character has bits set that count for nothing: it "
    "was changed on its way.",
    Reason.HEADER_TOO_LONG: "Its header is longer than any header needs to be.",
    Reason.HEADER_NOT_UTF8: "Its header is not UTF-8.",
    Reason.HEADER_NOT_JSON: "Its header is not JSON.",
    Reason.HEADER_NOT_OBJECT: "Its header is JSON, and no object.",
    Reason.HEADER_DUPLICATE_MEMBER: "Its header has a member twice, which readers understand in "
    "different ways.",
    Reason.HEADER_TOO_DEEP: "Its header is nested too deeply.",
    Reason.HEADER_NUMBER: "Its header has a number that JSON does not have, or that is too long.",
    Reason.HEADER_SURROGATE: "Its header has half a character (a lone surrogate).",
    Reason.PAYLOAD_NOT_UTF8: "Its claims are not UTF-8.",
    Reason.PAYLOAD_NOT_JSON: "Its claims are not JSON.",
    Reason.PAYLOAD_NOT_OBJECT: "Its claims are JSON, and no object.",
    Reason.PAYLOAD_DUPLICATE_MEMBER: "It has a claim twice, which readers understand in different "
    "ways.",
    Reason.PAYLOAD_TOO_DEEP: "Its claims are nested too deeply.",
    Reason.PAYLOAD_NUMBER: "Its claims have a number that JSON does not have, or that is too long.",
    Reason.PAYLOAD_SURROGATE: "Its claims have half a character (a lone surrogate).",
    Reason.ALG_MISSING: "It does not say by which algorithm it is signed.",
    Reason.ALG_NOT_STRING: "Its alg is not a text.",
    Reason.CRIT_PRESENT: "It demands extensions (crit), and none is known here.",
    Reason.JWK_PRESENT: "It brings its own key (jwk), which anybody can.",
    Reason.JKU_PRESENT: "It says where its key is (jku), which anybody can.",
    Reason.X5U_PRESENT: "It says where its certificate is (x5u), which anybody can.",
    Reason.X5C_PRESENT: "It brings its own certificate (x5c), which anybody can.",
    Reason.B64_PRESENT: "Its payload is not base64url (b64), as a JWT's always is.",
    Reason.ZIP_PRESENT: "It is compressed (zip).",
    Reason.ENC_PRESENT: "It says that it is encrypted (enc).",
    Reason.CTY_PRESENT: "It says that another token is within (cty).",
    Reason.TYP_NOT_STRING: "Its typ is not a text.",
    Reason.KID_NOT_STRING: "Its kid is not a text.",
    Reason.KID_TOO_LONG: "Its kid is longer than any key's.",
    Reason.KID_CHARACTERS: "Its kid has characters that no key id has.",
    Reason.KID_AMBIGUOUS: "The issuer publishes two keys under this id, so neither counts.",
    Reason.KEY_MALFORMED: "The key that it names cannot be read.",
    Reason.KEY_TYPE: "The key that it names is of a kind that verifies nothing here.",
    Reason.KEY_USE: "The key that it names is published for something else than signatures (use).",
    Reason.KEY_OPERATIONS: "The key that it names is not published for verifying (key_ops).",
    Reason.KEY_ALGORITHM: "The key that it names is for an algorithm that is not accepted here "
    "(ALGORITHMS).",
    Reason.KEY_PRIVATE: "The issuer has published the private half of this key: it must be "
    "replaced at once.",
    Reason.KEY_SIZE: "The key that it names is shorter than 2048 bits, longer than 8192, or not "
    "its curve's size.",
    Reason.KEY_EXPONENT: "The key that it names has an unfit public exponent.",
    Reason.KEY_WEAK: "The key that it names is of a kind that can be broken.",
    Reason.SIGNATURE_EMPTY: "It has no signature.",
    Reason.ISS_MISSING: "It does not say who issued it.",
    Reason.ISS_NOT_STRING: "Its iss is not a text.",
    Reason.AUD_MALFORMED: "Its aud is neither a text nor a list of texts.",
    Reason.EXP_MISSING: "It never ends (no exp), as no access token should.",
    Reason.EXP_MALFORMED: "Its exp is not a time.",
    Reason.NBF_MALFORMED: "Its nbf is not a time.",
    Reason.IAT_MISSING: "It does not say when it was issued (iat).",
    Reason.IAT_MALFORMED: "Its iat is not a time.",
    Reason.IAT_AFTER_EXP: "It was issued after its end.",
    Reason.SUB_MISSING: "It has neither a subject (sub) nor a client id.",
    Reason.SUB_MALFORMED: "Its sub is not a text, or an empty or very long one.",
    Reason.SCOPE_MALFORMED: "Its scopes are neither a text with spaces nor a list of names.",
    Reason.SCOPE_WILDCARD: "One of its scopes is *, which might be taken for all of them.",
    Reason.SCOPE_CONTRADICTION: "It has both scope and scp, and they differ.",
    Reason.JTI_MISSING: "It has no id (jti), which an at+jwt or a proof must have.",
    Reason.JTI_MALFORMED: "Its jti is not a text, or an empty or very long one.",
    Reason.CLIENT_ID_MISSING: "It does not say which client it was issued to.",
    Reason.CLIENT_ID_MALFORMED: "A claim that names its client (client_id, azp, cid or appid) "
    "is not a text, or an empty or very long one.",
    Reason.CLIENT_ID_CONTRADICTION: "Two claims that name its client differ: client_id and azp, "
    "or cid and appid.",
    Reason.EVENT_TOKEN: "It reports an event, such as a logout, and is no access token.",
    Reason.CNF_MALFORMED: "The key that it is bound to (cnf) cannot be read.",
    Reason.CNF_UNKNOWN: "It is bound to a key in a way that is not known here.",
    Reason.CNF_SEVERAL: "It is bound to several keys.",
    Reason.PROOF_SEVERAL: "There is more than one DPoP header.",
    Reason.PROOF_TOO_OLD: "The proof is more than 60 seconds old. Make one for each request; is a "
    "clock wrong?",
    Reason.PROOF_USED: "The proof has been used before. Make one for each request.",
    Reason.HTM_OTHER: "The proof is for another method.",
    Reason.HTU_OTHER: "The proof is for another address. Does something stand in front of the API "
    "(RESOURCE)?",
    Reason.NONCE_MALFORMED: "The proof's nonce is not a text of printable characters.",
    Reason.ATH_MISSING: "The proof does not name the token (ath).",
    Reason.ATH_MALFORMED: "The proof's ath is no SHA-256 digest.",
    Reason.ATH_OTHER: "The proof was made for another token.",
    Reason.CERTIFICATE_MALFORMED: "The certificate of the connection cannot be read.",
    Reason.TOKEN_TYPE: "It is of a token type that is not the one it is presented as.",
    Reason.SCOPE_INSUFFICIENT: "It is good, and none of its scopes opens what was asked for.",
    Reason.KEY_SET_MALFORMED: "What the issuer publishes is no key set.",
    Reason.INTROSPECTION_STATUS: "The introspection endpoint answers with an error: look at its "
    "log.",
    Reason.INTROSPECTION_MALFORMED: "The introspection endpoint's answer cannot be read.",
    Reason.INTROSPECTION_PAUSED: "The introspection endpoint has failed again and again, and is "
    "left alone for some seconds.",
    Reason.DENY_LIST_UNAVAILABLE: "The table of revoked tokens cannot be read.",
    Reason.PROOF_STORE_UNAVAILABLE: "The table of used proofs cannot be written.",
    Reason.PROOF_STORE_FULL: "More proofs are in use than this process keeps (REPLAYS_IN_MEMORY): "
    "take a table.",
    Reason.API_RULES_MISSING: "There is no parameter with this API's rules.",
    Reason.API_RULES_MALFORMED: "The parameter with this API's rules is not what it should be.",
    Reason.API_RULES_UNAVAILABLE: "Systems Manager cannot be asked for this API's rules.",
    Reason.EVENT_KIND: "The event is none that an authorizer gets: what invokes it?",
    Reason.ADDRESS_UNKNOWN: "The event does not say under which address the request came, which a "
    "proof is held against.",
    Reason.METHOD_ARN_MALFORMED: "The event's method ARN cannot be read: what invokes it?",
    Reason.UNEXPECTED: "A defect of the authorizer: the traceback follows in its log.",
}


def stage_of(reason: Reason) -> Stage:
    """Return what the authorizer was looking at when it gave this reason."""
    return next(stage for start, stage in _STAGES.items() if reason.startswith(start))


def in_words(reason: Reason) -> str:
    """Return what a reason means."""
    known = _WORDS.get(reason)
    return known or f"It breaks the rule {reason.value} of a strict reader."
