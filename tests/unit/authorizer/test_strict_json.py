"""JSON with exactly one reading."""

import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.strict_json import MAX_DEPTH, JsonError, JsonFault, parse_object

_SIMPLE = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
_VALUES = st.recursive(_SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(st.dictionaries(st.text(), _VALUES))
def test_json_round_trips(value: dict[str, object]) -> None:
    try:
        parsed: object = parse_object(json.dumps(value).encode())
    except JsonError as error:
        parsed = error.flaw
    assert parsed in (value, JsonFault.TOO_DEEP)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'\n{ "a" :\t1.5 }\r\n', 1.5),
        (rb'{"a":"\ud83d\ude00"}', "\U0001f600"),
        (json.dumps({"a": '{["' * 40}).encode(), '{["' * 40),  # brackets in strings are not depth
    ],
)
def test_unusual_legal_json_is_read(raw: bytes, value: object) -> None:
    assert parse_object(raw) == {"a": value}


def test_depth_of_unterminated_string_is_linear() -> None:
    started = process_time()
    for hostile in (b'"' + b'\\"' * 30_000, b'"' + b'\\\n"' * 20_000):
        with pytest.raises(JsonError):
            parse_object(b'{"a":' + b"[" * MAX_DEPTH + hostile)
    assert process_time() - started < 2  # 15 s, were each quotation mark a new beginning


def test_deepest_legal_nesting_is_read() -> None:
    assert parse_object(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)


FAULTS: dict[JsonFault, list[bytes]] = {
    JsonFault.NOT_JSON: [
        *(b"", b"{}{}", b"{}\x00", b"{'a':1}", b'{"a":1,}', b"{/**/}", b"{\f}", "{\u00a0}".encode()),
        *(b'{"a":01}', b'{"a":+1}', b'{"a":0x1}', b'{"a":1_0}', '{"a":\u0661}'.encode()),
        *(b'{"a":"\n"}', b'{"a":"\x01"}', b"\xef\xbb\xbf{}"),
        *('{"a":1}'.encode("utf-16-le"), "{}".encode("utf-32-be")),
    ],
    JsonFault.NOT_UTF8: [*('{"a":1}'.encode("utf-16"), b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"\xc1\xa1":1}')],
    JsonFault.NOT_OBJECT: [b"[]", b"null", b'"a"'],
    JsonFault.DUPLICATE_MEMBER: [
        *(b'{"a":1,"a":1}', rb'{"a":1,"\u0061":1}', b'{"":1,"":1}'),
        *(b'{"a":[{"b":1,"b":1}]}', rb'{"a":[[[{"a":{"b":1,"\u0062":2}}]]]}'),
    ],
    JsonFault.TOO_DEEP: [
        *(b'{"a":' * 17 + b"1" + b"}" * 17, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b"[" * 100_000)
    ],
    JsonFault.NUMBER: [
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":[{"b":1e309}]}'),
        *(b'{"a":9007199254740992}', b'{"a":[99999999999999999]}', b'{"a":' + b"9" * 5000 + b"}"),
    ],
    JsonFault.SURROGATE: [rb'{"a":"\ud800"}', rb'{"a":[{"\udfff":1}]}'],
}


@pytest.mark.parametrize(("flaw", "raw"), [(flaw, raw) for flaw, texts in FAULTS.items() for raw in texts])
def test_ambiguous_json_is_rejected(flaw: JsonFault, raw: bytes) -> None:
    with pytest.raises(JsonError) as error:
        parse_object(raw)
    assert error.value.flaw is flaw
