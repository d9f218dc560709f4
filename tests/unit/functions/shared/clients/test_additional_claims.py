from typing import Any

import pytest

from functions.shared.clients.additional_claims import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_NAME_LENGTH,
    RESERVED_NAMES,
    check_claims,
    decode,
    encode,
    others,
)
from tests.support.server import client

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def _nested(levels: int) -> object:
    return [_nested(levels - 1)] if levels else "x"


@pytest.mark.parametrize("name", sorted({*RESERVED_NAMES, "aws:principal_tags"}))
def test_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^The claim {name} is reserved.$"):
        client(claims={"tenant": "blue", name: "x"})


@pytest.mark.parametrize("name", ["roles", "groups", "entitlements", "tenant", "https://example.com/tenant", "Sub"])
def test_claim_that_only_apis_interpret_is_allowed(name: str) -> None:
    assert client(claims={name: "x"}).claims == {name: "x"}


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "\x7f", "é", "x" * (MAX_NAME_LENGTH + 1)])
def test_name_is_visible_ascii(name: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        check_claims({name: "x"})


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53, -(2**60), b"x", {1: "x"}, ("a",), "\ud800", CYCLE, object()],
    ids=["NaN", "infinity", "2^53", "-2^60", "bytes", "integer key", "tuple", "surrogate", "cycle", "object"],
)
@pytest.mark.parametrize("place", [lambda value: value, lambda value: {"inner": [value]}], ids=["top", "nested"])
def test_value_that_json_readers_disagree_on_is_refused(value: object, place: Any) -> None:
    with pytest.raises(ValueError, match=r"^A claim (is JSON|has at most)"):
        check_claims({"tenant": place(value)})


def test_size_is_limited_as_compact_ascii_json() -> None:
    frame = len('{"t":""}')
    check_claims({"t": "x" * (MAX_LENGTH - frame)})
    check_claims({"t": "é" * ((MAX_LENGTH - frame) // len("\\u00e9"))})
    for value in ("x" * (MAX_LENGTH - frame + 1), "é" * ((MAX_LENGTH - frame) // len("\\u00e9") + 1)):
        with pytest.raises(ValueError, match=f"The limit is {MAX_LENGTH}."):
            check_claims({"t": value})


def test_depth_is_limited() -> None:
    check_claims({"t": _nested(MAX_DEPTH)})
    with pytest.raises(ValueError, match=f"at most {MAX_DEPTH} levels"):
        check_claims({"t": _nested(MAX_DEPTH + 1)})


@pytest.mark.parametrize("value", ["x", "", "é", 0, -1, 1.5, True, False, None, [], {}, [{"a": [1]}], 2**53 - 1])
def test_value_has_the_same_type_after_storage(value: object) -> None:
    claims = {"t": value}
    check_claims(claims)
    assert repr(decode(encode(claims))) == repr(claims)


def test_reserved_claims_of_a_token_are_not_additional() -> None:
    assert others({"sub": "a", "tenant": "blue", "exp": 1, "aws:x": 1}) == {"tenant": "blue"}
