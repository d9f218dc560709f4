from authorizer.state_table import entry, revoked_jwt

ISSUER = "https://a"
TOKEN = "header.payload.signature"


def test_token_entry_has_issuer_and_jti() -> None:
    names = {
        revoked_jwt(ISSUER, "1", TOKEN),
        revoked_jwt("https://b", "1", TOKEN),
        revoked_jwt(ISSUER, "2", TOKEN),
        revoked_jwt(ISSUER, None, TOKEN),
    }
    assert len(names) == 4
    assert revoked_jwt(ISSUER, "1", TOKEN) == revoked_jwt(ISSUER, "1", "another.text.here")


def test_token_without_jti_has_a_digest_entry() -> None:
    assert revoked_jwt(ISSUER, None, TOKEN) == revoked_jwt(ISSUER, None, "header.payload.other")
    assert revoked_jwt(ISSUER, None, TOKEN) != revoked_jwt(ISSUER, None, "header.other.signature")


def test_entry_parts_are_unambiguous() -> None:
    assert entry("kind", "a", "bc") != entry("kind", "ab", "c")


def test_any_text_can_be_an_entry_part() -> None:
    assert entry("kind", "\ud800").startswith("kind#")
