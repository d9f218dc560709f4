from __future__ import annotations

from authorizer.state_entry import entry, revoked_jwt

ISSUER = "https://a"
TOKEN = "header.payload.signature"


def test_a_token_is_named_by_its_issuer_and_its_jti() -> None:
    names = {
        revoked_jwt(ISSUER, "1", TOKEN),
        revoked_jwt("https://b", "1", TOKEN),
        revoked_jwt(ISSUER, "2", TOKEN),
        revoked_jwt(ISSUER, None, TOKEN),
    }
    assert len(names) == 4
    assert revoked_jwt(ISSUER, "1", TOKEN) == revoked_jwt(ISSUER, "1", "another.text.here")


def test_a_token_without_a_jti_is_named_by_what_was_signed() -> None:
    assert revoked_jwt(ISSUER, None, TOKEN) == revoked_jwt(ISSUER, None, "header.payload.other")
    assert revoked_jwt(ISSUER, None, TOKEN) != revoked_jwt(ISSUER, None, "header.other.signature")


def test_parts_cannot_be_shifted_into_one_another() -> None:
    assert entry("kind", "a", "bc") != entry("kind", "ab", "c")


def test_any_text_can_be_part_of_an_entry() -> None:
    assert entry("kind", "\ud800").startswith("kind#")
