"""JSON that can be read in one way only (RFC 8259, RFC 7493)."""

import json
import re
from enum import StrEnum
from math import isfinite
from typing import Any

MAX_DEPTH = 16
_LARGEST_INTEGER = 2**53 - 1  # RFC 7493, 2.2
_MOST_DIGITS = len(str(-_LARGEST_INTEGER))
_SAFE_DIGITS = len(str(_LARGEST_INTEGER))  # with fewer digits, a number is within the limit
_WHITESPACE = " \t\n\r"
# Unterminated strings match, too, and the pattern never backtracks: it runs in linear time.
_STRING = r'"(?:[^"\\]|\\.)*+"?'


class JsonFault(StrEnum):
    """The fault of a text that is not an accepted JSON object."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    DUPLICATE_MEMBER = "duplicate_member"
    TOO_DEEP = "too_deep"
    NUMBER = "number"
    SURROGATE = "surrogate"


class JsonError(ValueError):
    """Raised when a text is not an unambiguous JSON object."""

    def __init__(self, flaw: JsonFault) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


def parse_object(raw: bytes) -> dict[str, object]:
    """Read a JSON object from UTF-8.

    Rejected at every depth: duplicate members, NaN, infinities, integers beyond 53 bits, and lone
    surrogates. The text may have `MAX_DEPTH` levels.

    Raises:
        JsonError: the text is anything else.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError(JsonFault.NOT_UTF8) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise JsonError(JsonFault.TOO_DEEP)
    text = text.strip(_WHITESPACE)
    try:
        value, end = _scan(text, 0)
    except (StopIteration, json.JSONDecodeError):
        raise JsonError(JsonFault.NOT_JSON) from None
    if end != len(text):
        raise JsonError(JsonFault.NOT_JSON)
    if not isinstance(value, dict):
        raise JsonError(JsonFault.NOT_OBJECT)
    if "\\u" in text and _holds_surrogate(value):
        raise JsonError(JsonFault.SURROGATE)
    return value


def _depth(text: str) -> int:
    """Measure nesting before parsing, because the parser would recurse."""
    deepest = level = 0
    for character in re.sub(_STRING, "", text):
        if character in "{[":
            level += 1
            deepest = max(deepest, level)
        elif character in "}]":
            level -= 1
    return deepest


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError(JsonFault.DUPLICATE_MEMBER)
    return members


def _integer(digits: str) -> int:
    if len(digits) < _SAFE_DIGITS:
        return int(digits)
    # Length first: converting thousands of digits is slow, and Python refuses to.
    if len(digits) > _MOST_DIGITS or abs(number := int(digits)) > _LARGEST_INTEGER:
        raise JsonError(JsonFault.NUMBER)
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise JsonError(JsonFault.NUMBER)
    return number


def _constant(_name: str) -> object:
    raise JsonError(JsonFault.NUMBER)


def _holds_surrogate(value: object) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(_holds_surrogate(part) for member in value.items() for part in member)
    return isinstance(value, list) and any(_holds_surrogate(part) for part in value)


_DECODER: Any = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_scan = _DECODER.scan_once
