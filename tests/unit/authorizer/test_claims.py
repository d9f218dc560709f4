"""Reading claims, where the bad tokens do not already show it."""

from authorizer.claims import join_scopes, read_scopes


def test_scopes_are_written_in_one_order() -> None:
    assert join_scopes({"b", "a", "c"}) == "a b c"


def test_scopes_are_read_alike_from_either_claim_in_either_form() -> None:
    for name in ("scope", "scp"):
        assert read_scopes({name: "a b"}) == read_scopes({name: ["b", "a"]}) == {"a", "b"}
