"""The ring's keys and their times, as a table and as a timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from functions.shared.keys.key_ring import IN_KMS
from infra.command_line.key_changes import retirable_from
from infra.command_line.terminal import table
from infra.command_line.times import iso, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from functions.shared.keys.key_ring import KeyRing, RingKey

SIGNS, ANNOUNCED, RETIRED, GONE, STEPS_BACK = "signs", "announced", "retired", "gone", "stand-by"

_WIDTH: Final = 60
_MARKS: Final = {ANNOUNCED: "░", SIGNS: "█", RETIRED: "▒"}
_NOW: Final = "│"
_ABBREVIATED: Final = 8
_HOUR: Final = 3600


def state(key: RingKey, ring: KeyRing, now: float) -> str:
    """Return what a key does at a moment, in one word."""
    if key.may_sign(now):
        # Of several that may, the youngest does: RFC 7515 leaves it to the signer.
        return SIGNS if ring.signing_key(now, key.alg) == key else STEPS_BACK
    if not key.is_published(now):
        return ANNOUNCED if now < key.publish_from else GONE
    return ANNOUNCED if now < key.sign_from else RETIRED


def to_document(key: RingKey, ring: KeyRing, now: float) -> dict[str, object]:
    """Render a key for programs. None is an end that is not set yet."""
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": state(key, ring, now),
        "edition": key.edition,
        "published_from": iso(key.publish_from),
        "signs_from": iso(key.sign_from),
        "signs_until": iso(key.sign_until),
        "published_until": iso(key.publish_until),
        "retirable_from": iso(retirable_from(key)),
    }


def keys_table(ring: KeyRing, now: float) -> Table:
    """Return the keys, in the order in which they sign. An id is never folded: it is to copy."""
    made = table(
        ("key", "alg", "state", "kept in"),
        [
            (key.kid, key.alg, state(key, ring, now), "KMS" if key.edition == IN_KMS else "secret")
            for key in in_order(ring)
        ],
    )
    made.columns[0].no_wrap = True
    return made


def timeline(ring: KeyRing, now: float) -> list[Text]:
    """Draw for each key when it is announced, signs and is retired, and where we are."""
    keys = in_order(ring)
    if not keys:
        return []
    start, end = _span(keys, now)
    lines = [line for key in keys for line in (_line(key, now, start, end), *_times(key))]
    left, right = readable(start), readable(end)
    axis = left + right.rjust(_WIDTH - len(left))
    legend = f"{_MARKS[ANNOUNCED]} announced  {_MARKS[SIGNS]} signs  {_MARKS[RETIRED]} retired"
    return [*lines, _indented(axis), _indented(f"{legend}  {_NOW} now, {readable(now)}")]


def _times(key: RingKey) -> list[Text]:
    signs_until = readable(key.sign_until, otherwise="its successor signs")
    published_until = readable(key.publish_until, otherwise="an end not set yet")
    return [
        _indented(f"signs      {readable(key.sign_from)} to {signs_until}"),
        _indented(f"published  {readable(key.publish_from)} to {published_until}"),
    ]


def in_order(ring: KeyRing) -> list[RingKey]:
    """Return the keys in the order in which they sign."""
    return sorted(ring.keys, key=lambda key: (key.alg, key.sign_from, key.kid))


def _span(keys: Sequence[RingKey], now: float) -> tuple[float, float]:
    """Return the first and the last moment that the drawing shows: every one that is known."""
    moments = [
        each
        for key in keys
        for each in (key.publish_from, key.sign_from, key.sign_until, key.publish_until)
        if each is not None
    ]
    start, end = min(*moments, now), max(*moments, now)
    # Room for what has no end yet, and for the moment a ring is made.
    return start, end + max((end - start) / 6, _HOUR)


def _line(key: RingKey, now: float, start: float, end: float) -> Text:
    step = (end - start) / _WIDTH
    marks = [_mark(key, start + (column + 0.5) * step) for column in range(_WIDTH)]
    marks[min(int((now - start) / step), _WIDTH - 1)] = _NOW
    open_end = "…" if key.sign_until is None else ""
    return Text(f"{key.kid[:_ABBREVIATED]}… {''.join(marks)}{open_end}")


def _mark(key: RingKey, moment: float) -> str:
    if not key.is_published(moment):
        return " "
    if moment < key.sign_from:
        return _MARKS[ANNOUNCED]
    return _MARKS[SIGNS] if key.may_sign(moment) else _MARKS[RETIRED]


def _indented(text: str) -> Text:
    return Text(" " * (_ABBREVIATED + 2) + text)
