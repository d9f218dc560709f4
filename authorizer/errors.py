"""Reasons for rejecting a request, and the errors that carry them."""


# ruff: noqa: N818 - API Gateway's term is the exception `Unauthorized`

from enum import StrEnum


class Reason(StrEnum):
    """One name per fault, never with data from a token.

    The text below each member explains it: the command line, the console and the docs show it.
    """

    # The Authorization header (RFC 6750, 2.1)
    CREDENTIALS_MISSING = "credentials_missing"
    """The request has no Authorization header, or no token in it."""
    CREDENTIALS_SEVERAL = "credentials_several"
    """The request carries several tokens. Send one, in one Authorization header."""
    CREDENTIALS_MALFORMED = "credentials_malformed"
    """The token contains characters that no token has, such as a line break."""
    SCHEME_WRONG = "scheme_wrong"
    """The token comes with a DPoP proof, which this API does not accept (ProofOfPossession)."""

    # The compact serialization (RFC 7515, 3.1)
    TOKEN_EMPTY = "token_empty"
    """The token is empty."""
    TOKEN_TOO_LONG = "token_too_long"
    """The token is longer than 8 KB. Request fewer scopes."""
    TOKEN_ENCRYPTED = "token_encrypted"
    """The token is encrypted (five parts). Only signed tokens are accepted."""
    TOKEN_IN_JSON_FORM = "token_in_json_form"
    """The token uses the JSON serialization. Only the compact serialization is accepted."""
    SEGMENT_COUNT = "segment_count"
    """A JWT has three parts separated by dots. The token may have been cut off."""
    SEGMENT_LENGTH = "segment_length"
    """A part of the token has a length that base64url cannot have. It may have been cut off."""
    SEGMENT_PADDED = "segment_padded"
    """A part of the token ends with =, which a JWT must not contain."""
    SEGMENT_WHITESPACE = "segment_whitespace"
    """The token contains white space. It may have been wrapped in transit."""
    SEGMENT_ALPHABET = "segment_alphabet"
    """The token contains characters outside base64url. It may have been encoded twice."""
    SEGMENT_SPARE_BITS = "segment_spare_bits"
    """The last character of a part has unused bits set. The token was changed."""

    # JSON, in the header and in the payload
    HEADER_TOO_LONG = "header_too_long"
    """The header is too long."""
    HEADER_NOT_UTF8 = "header_not_utf8"
    """The header is not UTF-8."""
    HEADER_NOT_JSON = "header_not_json"
    """The header is not JSON."""
    HEADER_NOT_OBJECT = "header_not_object"
    """The header is not a JSON object."""
    HEADER_DUPLICATE_MEMBER = "header_duplicate_member"
    """The header contains a member twice, which parsers read differently."""
    HEADER_TOO_DEEP = "header_too_deep"
    """The header is nested too deeply."""
    HEADER_NUMBER = "header_number"
    """The header contains a number that is not valid JSON, or too long."""
    HEADER_SURROGATE = "header_surrogate"
    """The header contains a lone surrogate."""
    PAYLOAD_NOT_UTF8 = "payload_not_utf8"
    """The claims are not UTF-8."""
    PAYLOAD_NOT_JSON = "payload_not_json"
    """The claims are not JSON."""
    PAYLOAD_NOT_OBJECT = "payload_not_object"
    """The claims are not a JSON object."""
    PAYLOAD_DUPLICATE_MEMBER = "payload_duplicate_member"
    """The token contains a claim twice, which parsers read differently."""
    PAYLOAD_TOO_DEEP = "payload_too_deep"
    """The claims are nested too deeply."""
    PAYLOAD_NUMBER = "payload_number"
    """The claims contain a number that is not valid JSON, or too long."""
    PAYLOAD_SURROGATE = "payload_surrogate"
    """The claims contain a lone surrogate."""

    # Header members (RFC 7515, 4; RFC 8725)
    ALG_MISSING = "alg_missing"
    """The header does not name a signature algorithm (alg)."""
    ALG_NOT_STRING = "alg_not_string"
    """The header's alg is not a string."""
    ALG_NONE = "alg_none"
    """The token is not signed (alg none)."""
    ALG_SYMMETRIC = "alg_symmetric"
    """The token is signed with a shared secret (HS…), which is never accepted."""
    ALG_NOT_ALLOWED = "alg_not_allowed"
    """The token's algorithm is not among those that this authorizer accepts (ALGORITHMS)."""
    ALG_NOT_OF_KEY = "alg_not_of_key"
    """The key that the token names is for another algorithm."""
    CRIT_PRESENT = "crit_present"
    """The header requires extensions (crit), and none is supported."""
    JWK_PRESENT = "jwk_present"
    """The header contains its own key (jwk), which is never trusted."""
    JKU_PRESENT = "jku_present"
    """The header contains a URL of its key (jku), which is never fetched."""
    X5U_PRESENT = "x5u_present"
    """The header contains a URL of its certificate (x5u), which is never fetched."""
    X5C_PRESENT = "x5c_present"
    """The header contains its own certificate (x5c), which is never trusted."""
    B64_PRESENT = "b64_present"
    """The payload is not base64url according to the header (b64), as a JWT requires."""
    ZIP_PRESENT = "zip_present"
    """The token is compressed (zip)."""
    ENC_PRESENT = "enc_present"
    """The token is encrypted according to the header (enc)."""
    CTY_PRESENT = "cty_present"
    """The token contains another token (cty)."""
    TYP_NOT_STRING = "typ_not_string"
    """The header's typ is not a string."""
    TYP_NOT_ALLOWED = "typ_not_allowed"
    """The header's typ is not that of an access token, or at+jwt is required."""
    KID_MISSING = "kid_missing"
    """The header does not name a key (kid)."""
    KID_NOT_STRING = "kid_not_string"
    """The header's kid is not a string."""
    KID_TOO_LONG = "kid_too_long"
    """The header's kid is too long."""
    KID_CHARACTERS = "kid_characters"
    """The header's kid contains characters that are not allowed."""

    # Keys (RFC 7517)
    KID_UNKNOWN = "kid_unknown"
    """The issuer does not publish this key: it was revoked, has expired, or is another issuer's."""
    KID_AMBIGUOUS = "kid_ambiguous"
    """The issuer publishes two keys with this id, so neither is used."""
    KEY_MALFORMED = "key_malformed"
    """The key that the token names cannot be parsed."""
    KEY_TYPE = "key_type"
    """The key that the token names has a type that is not supported."""
    KEY_USE = "key_use"
    """The key that the token names is published for another use than signatures (use)."""
    KEY_OPERATIONS = "key_operations"
    """The key that the token names is not published for verification (key_ops)."""
    KEY_ALGORITHM = "key_algorithm"
    """The key that the token names is for an algorithm that is not accepted (ALGORITHMS)."""
    KEY_PRIVATE = "key_private"
    """The issuer has published the private key. Replace it at once."""
    KEY_SIZE = "key_size"
    """The key is shorter than 2048 bits, longer than 8192, or not of its curve's size."""
    KEY_EXPONENT = "key_exponent"
    """The key has a public exponent that is not allowed."""
    KEY_WEAK = "key_weak"
    """The key is of a kind that can be broken."""

    # The signature
    SIGNATURE_EMPTY = "signature_empty"
    """The token has no signature."""
    SIGNATURE_LENGTH = "signature_length"
    """The signature has the wrong length. The token may have been cut off."""
    SIGNATURE_INVALID = "signature_invalid"
    """The signature is not valid for the named key: the token was changed or forged."""

    # Claims (RFC 7519, 4.1; RFC 9068, 2.2)
    ISS_MISSING = "iss_missing"
    """The token does not name its issuer (iss)."""
    ISS_NOT_STRING = "iss_not_string"
    """The claim iss is not a string."""
    ISS_UNKNOWN = "iss_unknown"
    """The token is from another issuer. Issuers are compared byte for byte."""
    AUD_MISSING = "aud_missing"
    """The token names no audience (aud), and this API requires one (AUDIENCE)."""
    AUD_MALFORMED = "aud_malformed"
    """The claim aud is neither a string nor a list of strings."""
    AUD_OTHER = "aud_other"
    """The token is for another API (AUDIENCE). Name this one in resource, or in the client's audience."""
    EXP_MISSING = "exp_missing"
    """The token has no expiry (exp), which an access token must have."""
    EXP_MALFORMED = "exp_malformed"
    """The claim exp is not a time."""
    EXPIRED = "expired"
    """The token has expired. Request a new one."""
    LIFETIME_TOO_LONG = "lifetime_too_long"
    """The token's lifetime is longer than allowed (MAX_TOKEN_LIFETIME)."""
    NBF_MALFORMED = "nbf_malformed"
    """The claim nbf is not a time."""
    NOT_YET_VALID = "not_yet_valid"
    """The token is not valid yet (nbf). Compare the clocks."""
    IAT_MISSING = "iat_missing"
    """The token has no time of issue (iat)."""
    IAT_MALFORMED = "iat_malformed"
    """The claim iat is not a time."""
    IAT_IN_FUTURE = "iat_in_future"
    """The token was issued in the future (iat). Compare the clocks."""
    IAT_AFTER_EXP = "iat_after_exp"
    """The token was issued after its expiry."""
    SUB_MISSING = "sub_missing"
    """The token has neither a subject (sub) nor a client id."""
    SUB_MALFORMED = "sub_malformed"
    """The claim sub is not a string, is empty or is too long."""
    SCOPE_MALFORMED = "scope_malformed"
    """The scopes are neither a string separated by spaces nor a list of strings."""
    SCOPE_WILDCARD = "scope_wildcard"
    """One of the scopes is *, which could be read as all scopes."""
    SCOPE_CONTRADICTION = "scope_contradiction"
    """The claims scope and scp differ."""
    JTI_MISSING = "jti_missing"
    """The token or proof has no id (jti), which an at+jwt token and a proof must have."""
    JTI_MALFORMED = "jti_malformed"
    """The claim jti is not a string, is empty or is too long."""
    CLIENT_ID_MISSING = "client_id_missing"
    """The token does not name its client (client_id)."""
    CLIENT_ID_MALFORMED = "client_id_malformed"
    """A claim with the client (client_id, azp, cid, appid) is not a string, is empty or is too long."""
    CLIENT_ID_CONTRADICTION = "client_id_contradiction"
    """Two claims with the client differ: client_id and azp, or cid and appid."""
    CLIENT_ID_NOT_ALLOWED = "client_id_not_allowed"
    """The token's client is not among those of this API (CLIENT_IDS)."""
    CLAIMS_TOO_LONG = "claims_too_long"
    """The claims for the context (CONTEXT_CLAIMS) are longer than 2,048 bytes."""
    CLAIMS_CONTROL_CHARACTER = "claims_control_character"
    """A claim for the context (CONTEXT_CLAIMS) has a control character."""
    ID_TOKEN = "id_token"
    """The token is an ID token, which is for the client and not for an API."""
    EVENT_TOKEN = "event_token"
    """The token reports an event, such as a logout, and is not an access token."""

    # Proof of possession (RFC 7800, RFC 8705, RFC 9449)
    CNF_MALFORMED = "cnf_malformed"
    """The key that the token is bound to (cnf) cannot be parsed."""
    CNF_UNKNOWN = "cnf_unknown"
    """The token is bound to a key in a way that is not supported (cnf)."""
    CNF_SEVERAL = "cnf_several"
    """The token is bound to several keys (cnf)."""
    PROOF_REQUIRED = "proof_required"
    """The token is bound to a key. The request proves no possession, or this API accepts no such proof
    (ProofOfPossession)."""
    PROOF_MISSING = "proof_missing"
    """The token is bound to a DPoP key, and the request has no DPoP proof."""
    PROOF_SEVERAL = "proof_several"
    """The request has several DPoP headers."""
    PROOF_TOO_OLD = "proof_too_old"
    """The DPoP proof is older than 60 seconds. Create one for each request; compare the clocks."""
    PROOF_USED = "proof_used"
    """The DPoP proof was used before. Create one for each request."""
    HTM_OTHER = "htm_other"
    """The DPoP proof is for another method (htm)."""
    HTU_OTHER = "htu_other"
    """The DPoP proof is for another URL (htu). A proxy in front of the API needs the setting RESOURCE."""
    NONCE_MALFORMED = "nonce_malformed"
    """The DPoP proof's nonce is not a string of printable characters."""
    ATH_MISSING = "ath_missing"
    """The DPoP proof does not name the token (ath)."""
    ATH_MALFORMED = "ath_malformed"
    """The DPoP proof's ath is not a SHA-256 hash."""
    ATH_OTHER = "ath_other"
    """The DPoP proof is for another token (ath)."""
    JKT_OTHER = "jkt_other"
    """The token is bound to another key than the one that signed the DPoP proof."""
    TOKEN_NOT_BOUND = "token_not_bound"
    """The token is not bound to a key, but the request has a DPoP proof."""
    CERTIFICATE_MISSING = "certificate_missing"
    """The token is bound to a certificate, and the connection has none."""
    CERTIFICATE_MALFORMED = "certificate_malformed"
    """The connection's certificate cannot be parsed."""
    CERTIFICATE_OTHER = "certificate_other"
    """The token is bound to another certificate than the connection's."""

    # Opaque tokens (RFC 7662)
    OPAQUE_NOT_ACCEPTED = "opaque_not_accepted"
    """The token is opaque, and this authorizer has no introspection endpoint."""
    TOKEN_TYPE = "token_type"
    """The introspection response names another token type than the request uses."""
    TOKEN_INACTIVE = "token_inactive"
    """The token is not active: expired, revoked, unknown, or not visible to this authorizer."""

    # Revoked tokens
    TOKEN_REVOKED = "token_revoked"
    """The token was revoked."""

    # Valid tokens without the required scope
    SCOPE_INSUFFICIENT = "scope_insufficient"
    """The token is valid, but none of its scopes opens the requested route."""

    # Internal failures
    KEY_SET_UNAVAILABLE = "key_set_unavailable"
    """The issuer's key set cannot be fetched, and no cached one can be used."""
    KEY_SET_MALFORMED = "key_set_malformed"
    """The issuer's key set cannot be parsed."""
    INTROSPECTION_UNREACHABLE = "introspection_unreachable"
    """The introspection endpoint cannot be reached."""
    INTROSPECTION_CREDENTIALS = "introspection_credentials"
    """The introspection endpoint rejects the authorizer's credentials. 'make smoke' registers its client."""
    INTROSPECTION_STATUS = "introspection_status"
    """The introspection endpoint returned an error. See its log."""
    INTROSPECTION_MALFORMED = "introspection_malformed"
    """The introspection response cannot be parsed."""
    INTROSPECTION_PAUSED = "introspection_paused"
    """The introspection endpoint failed repeatedly, so no request is sent for some seconds."""
    DENY_LIST_UNAVAILABLE = "deny_list_unavailable"
    """The table of revoked tokens cannot be read."""
    PROOF_STORE_UNAVAILABLE = "proof_store_unavailable"
    """The table of used DPoP proofs cannot be written."""
    PROOF_STORE_FULL = "proof_store_full"
    """More DPoP proofs are in use than this process stores (REPLAYS_IN_MEMORY). Use a table."""
    API_RULES_MISSING = "api_rules_missing"
    """The parameter with this API's rules does not exist."""
    API_RULES_MALFORMED = "api_rules_malformed"
    """The parameter with this API's rules is not valid."""
    API_RULES_UNAVAILABLE = "api_rules_unavailable"
    """The parameter with this API's rules cannot be read from Systems Manager."""
    EVENT_KIND = "event_kind"
    """The event is not one of an API Gateway authorizer."""
    ADDRESS_UNKNOWN = "address_unknown"
    """The event does not contain the URL of the request, which a DPoP proof is compared with."""
    METHOD_ARN_MALFORMED = "method_arn_malformed"
    """The event's method ARN cannot be parsed."""
    POLICY_TOO_LARGE = "policy_too_large"
    """The token's scopes open more routes than a policy can contain."""
    UNEXPECTED = "unexpected"
    """The authorizer has a defect. Its log contains the traceback."""


class AuthorizerError(Exception):
    """Base class. `issuer` is the token's, if it is a trusted one."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.issuer: str | None = None


class InvalidTokenError(AuthorizerError):
    """Raised when the request has no valid token."""


class InvalidProofError(InvalidTokenError):
    """Raised when the request's DPoP proof is not valid."""


class KeyLookupDeferredError(InvalidTokenError):
    """Raised when a key id is not in the cached key set and a refetch has to wait.

    The key may exist. A caller that can respond with Retry-After should use `retry_after`.
    """

    def __init__(self, reason: Reason, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class AuthorizerUnavailableError(AuthorizerError):
    """Raised when the authorizer cannot decide. The caller gets 500, which is never cached."""


class KeySetUnavailableError(AuthorizerUnavailableError):
    """Raised when no usable key set is available."""

    def __init__(self, reason: Reason = Reason.KEY_SET_UNAVAILABLE) -> None:
        super().__init__(reason)


class IntrospectionError(AuthorizerUnavailableError):
    """Raised when the introspection endpoint returns no usable response."""


class StateUnavailableError(AuthorizerUnavailableError):
    """Raised when the state table cannot be read or written."""


class RulesUnavailableError(AuthorizerUnavailableError):
    """Raised when the rules of an API are missing, invalid or unavailable."""


class UnsupportedEventError(AuthorizerUnavailableError):
    """Raised when an event does not have the format that the settings require."""


class PolicyError(AuthorizerUnavailableError):
    """Raised when no policy can express what the token grants."""


class Unauthorized(Exception):
    """Raised to API Gateway, which compares the message with the word `Unauthorized`."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")
