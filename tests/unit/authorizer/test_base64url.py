"""Base64url without padding or spare bits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer import base64url
from authorizer.errors import InvalidTokenError, Reason
from tests.support.tokens import encode


@given(st.binary(max_size=64))
def test_encoded_bytes_decode_to_the_same(raw: bytes) -> None:
    assert base64url.decode(encode(raw).encode()) == raw


@given(st.binary(max_size=24))
def test_encoding_is_unique(text: bytes) -> None:
    try:
        raw = base64url.decode(text)
    except InvalidTokenError:
        return
    assert encode(raw).encode() == text


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (b"YWI=", Reason.SEGMENT_PADDED),
        (b"YQ==", Reason.SEGMENT_PADDED),
        (b"YW\n", Reason.SEGMENT_WHITESPACE),
        (b" YWI", Reason.SEGMENT_WHITESPACE),
        (b"a+b/", Reason.SEGMENT_ALPHABET),
        (b"YW!i", Reason.SEGMENT_ALPHABET),
        (b"YWJjZ", Reason.SEGMENT_LENGTH),
        (b"YR", Reason.SEGMENT_SPARE_BITS),
        (b"YWJ", Reason.SEGMENT_SPARE_BITS),
    ],
)
def test_other_encodings_are_rejected(segment: bytes, reason: Reason) -> None:
    with pytest.raises(InvalidTokenError, match=f"^{reason}$"):
        base64url.decode(segment)
