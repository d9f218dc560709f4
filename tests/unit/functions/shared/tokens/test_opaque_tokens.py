import re
from hashlib import sha256

from functions.shared.tokens.opaque_tokens import generate_token, token_digest


def test_token_is_scannable_and_has_256_bits() -> None:
    token = generate_token()
    assert re.fullmatch(r"gh_at_[\w-]{43}", token)
    assert token != generate_token()


def test_digest_is_sha_256_of_any_text() -> None:
    assert token_digest("abc") == sha256(b"abc").hexdigest()
    assert len(token_digest("\ud800")) == 64
