"""Why a request was refused: a fixed vocabulary, safe to log."""

from enum import StrEnum

# ruff: noqa: S105 - names of faults, not passwords


class Reason(StrEnum):
    """One name per fault. No member ever carries anything out of a token."""

    # The Authorization header (RFC 6750 section 2.1)
    CREDENTIALS_MISSING = "credentials_missing"
    CREDENTIALS_SEVERAL = "credentials_several"
    CREDENTIALS_MALFORMED = "credentials_malformed"
    SCHEME_WRONG = "scheme_wrong"

    # The compact serialization (RFC 7515 section 3.1)
    TOKEN_EMPTY = "token_empty"
    TOKEN_TOO_LONG = "token_too_long"
    TOKEN_ENCRYPTED = "token_encrypted"
    TOKEN_IN_JSON_FORM = "token_in_json_form"
    SEGMENT_COUNT = "segment_count"
    SEGMENT_LENGTH = "segment_length"
    SEGMENT_PADDED = "segment_padded"
    SEGMENT_WHITESPACE = "segment_whitespace"
    SEGMENT_ALPHABET = "segment_alphabet"
    SEGMENT_SPARE_BITS = "segment_spare_bits"

    # JSON, in the header and in the payload
    HEADER_TOO_LONG = "header_too_long"
    HEADER_NOT_UTF8 = "header_not_utf8"
    HEADER_NOT_JSON = "header_not_json"
    HEADER_NOT_OBJECT = "header_not_object"
    HEADER_DUPLICATE_MEMBER = "header_duplicate_member"
    HEADER_TOO_DEEP = "header_too_deep"
    HEADER_NUMBER = "header_number"
    HEADER_SURROGATE = "header_surrogate"
    PAYLOAD_NOT_UTF8 = "payload_not_utf8"
    PAYLOAD_NOT_JSON = "payload_not_json"
    PAYLOAD_NOT_OBJECT = "payload_not_object"
    PAYLOAD_DUPLICATE_MEMBER = "payload_duplicate_member"
    PAYLOAD_TOO_DEEP = "payload_too_deep"
    PAYLOAD_NUMBER = "payload_number"
    PAYLOAD_SURROGATE = "payload_surrogate"

    # Header members (RFC 7515 section 4, RFC 8725)
    ALG_MISSING = "alg_missing"
    ALG_NOT_STRING = "alg_not_string"
    ALG_NONE = "alg_none"
    ALG_SYMMETRIC = "alg_symmetric"
    ALG_NOT_ALLOWED = "alg_not_allowed"
    ALG_NOT_OF_KEY = "alg_not_of_key"
    CRIT_PRESENT = "crit_present"
    JWK_PRESENT = "jwk_present"
    JKU_PRESENT = "jku_present"
    X5U_PRESENT = "x5u_present"
    X5C_PRESENT = "x5c_present"
    X5T_PRESENT = "x5t_present"
    B64_PRESENT = "b64_present"
    ZIP_PRESENT = "zip_present"
    ENC_PRESENT = "enc_present"
    CTY_PRESENT = "cty_present"
    TYP_NOT_STRING = "typ_not_string"
    TYP_NOT_ALLOWED = "typ_not_allowed"
    KID_MISSING = "kid_missing"
    KID_NOT_STRING = "kid_not_string"
    KID_TOO_LONG = "kid_too_long"
    KID_CHARACTERS = "kid_characters"

    # Keys (RFC 7517)
    KID_UNKNOWN = "kid_unknown"
    KID_AMBIGUOUS = "kid_ambiguous"
    KEY_MALFORMED = "key_malformed"
    KEY_TYPE = "key_type"
    KEY_USE = "key_use"
    KEY_OPERATIONS = "key_operations"
    KEY_ALGORITHM = "key_algorithm"
    KEY_PRIVATE = "key_private"
    KEY_SIZE = "key_size"
    KEY_EXPONENT = "key_exponent"
    KEY_WEAK = "key_weak"

    # The signature
    SIGNATURE_EMPTY = "signature_empty"
    SIGNATURE_LENGTH = "signature_length"
    SIGNATURE_INVALID = "signature_invalid"

    # Claims (RFC 7519 section 4.1, RFC 9068 section 2.2)
    ISS_MISSING = "iss_missing"
    ISS_NOT_STRING = "iss_not_string"
    ISS_UNKNOWN = "iss_unknown"
    AUD_MISSING = "aud_missing"
    AUD_MALFORMED = "aud_malformed"
    AUD_OTHER = "aud_other"
    EXP_MISSING = "exp_missing"
    EXP_MALFORMED = "exp_malformed"
    EXPIRED = "expired"
    LIFETIME_TOO_LONG = "lifetime_too_long"
    NBF_MALFORMED = "nbf_malformed"
    NOT_YET_VALID = "not_yet_valid"
    IAT_MISSING = "iat_missing"
    IAT_MALFORMED = "iat_malformed"
    IAT_IN_FUTURE = "iat_in_future"
    IAT_AFTER_EXP = "iat_after_exp"
    SUB_MISSING = "sub_missing"
    SUB_MALFORMED = "sub_malformed"
    SCOPE_MALFORMED = "scope_malformed"
    SCOPE_WILDCARD = "scope_wildcard"
    SCOPE_CONTRADICTION = "scope_contradiction"
    JTI_MISSING = "jti_missing"
    JTI_MALFORMED = "jti_malformed"
    CLIENT_ID_MISSING = "client_id_missing"
    CLIENT_ID_MALFORMED = "client_id_malformed"
    CLIENT_ID_CONTRADICTION = "client_id_contradiction"
    CLIENT_ID_NOT_ALLOWED = "client_id_not_allowed"
    ID_TOKEN = "id_token"
    EVENT_TOKEN = "event_token"

    # Proof of possession (RFC 7800, RFC 8705, RFC 9449)
    CNF_MALFORMED = "cnf_malformed"
    CNF_UNKNOWN = "cnf_unknown"
    CNF_SEVERAL = "cnf_several"
    PROOF_REQUIRED = "proof_required"
    PROOF_TOO_OLD = "proof_too_old"
    HTM_OTHER = "htm_other"
    HTU_OTHER = "htu_other"
    NONCE_MALFORMED = "nonce_malformed"
    ATH_MALFORMED = "ath_malformed"

    # Opaque tokens (RFC 7662)
    OPAQUE_NOT_ACCEPTED = "opaque_not_accepted"
    OPAQUE_CHARACTERS = "opaque_characters"
    TOKEN_TYPE = "token_type"
    TOKEN_INACTIVE = "token_inactive"

    # A good token that grants nothing here
    SCOPE_INSUFFICIENT = "scope_insufficient"

    # Our own trouble
    KEY_SET_UNAVAILABLE = "key_set_unavailable"
    KEY_SET_MALFORMED = "key_set_malformed"
    INTROSPECTION_UNREACHABLE = "introspection_unreachable"
    INTROSPECTION_CREDENTIALS = "introspection_credentials"
    INTROSPECTION_STATUS = "introspection_status"
    INTROSPECTION_MALFORMED = "introspection_malformed"
    INTROSPECTION_PAUSED = "introspection_paused"
    METHOD_ARN_MALFORMED = "method_arn_malformed"
    POLICY_TOO_LARGE = "policy_too_large"
    UNEXPECTED = "unexpected"
