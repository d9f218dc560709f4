from __future__ import annotations

import pytest

from authorizer import deny_list as authorizers
from functions.shared import deny_list
from functions.shared.deny_list import name_of

TOKEN = "header.payload.signature"


def test_a_token_is_named_by_its_issuer_and_its_jti() -> None:
    names = {
        name_of("https://a", "1", TOKEN),
        name_of("https://b", "1", TOKEN),
        name_of("https://a", "2", TOKEN),
        name_of("https://a", None, TOKEN),
    }
    assert len(names) == 4
    assert name_of("https://a", "1", TOKEN) == name_of("https://a", "1", "another.text.here")


def test_a_token_without_a_jti_is_named_by_what_was_signed() -> None:
    assert name_of("https://a", None, TOKEN) == name_of("https://a", None, "header.payload.other")
    assert name_of("https://a", None, TOKEN) != name_of("https://a", None, "header.other.signature")


@pytest.mark.parametrize("token_id", ["id", "ä", None])
def test_an_authorizer_finds_the_same_name(token_id: str | None) -> None:
    assert deny_list.KIND == authorizers.KIND
    name = name_of("https://issuer", token_id, TOKEN)
    assert authorizers.name_of("https://issuer", token_id, TOKEN) == name
