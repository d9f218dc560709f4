"""A key's life: announced, signs, retired, deleted; in words, as a drawing, and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from functions.shared.keys.key_ring import IN_KMS
from infra.cli.keys.planned import retirable_from
from infra.cli.terminal.rows import safe
from infra.cli.terminal.times import iso, readable, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functions.shared.keys.key_ring import KeyRing, RingKey

SIGNS, ANNOUNCED, RETIRED, GONE, STEPS_BACK = "signs", "announced", "retired", "gone", "stand-by"

_WIDTH: Final = 60
_NARROWEST: Final = 10
_MARKS: Final = {ANNOUNCED: "░", SIGNS: "█", RETIRED: "▒"}
_NOW: Final = "│"
_INDENT: Final = "  "
_NAMES: Final = 15
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
    """Render a key for programs; docs/cli.md says what each moment is. None: no date is set yet."""
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": state(key, ring, now),
        "edition": key.edition,
        "announced_at": iso(key.publish_from),
        "signs_from": iso(key.sign_from),
        "retired_at": iso(key.sign_until),
        "removable_from": iso(retirable_from(key)),
        "deleted_after": iso(key.publish_until),
    }


def lives(ring: KeyRing, now: float, width: int) -> list[Text]:
    """Tell each key's life, in the order in which they sign, each with a drawing to one scale."""
    keys = in_order(ring)
    if not keys:
        return []
    start, end = _span(keys, now)
    columns = min(_WIDTH, max(width - len(_INDENT) - 1, _NARROWEST))
    lines = [
        line
        for key in keys
        for line in (*_told(key, ring, now), _drawn(key, now, (start, end), columns), Text())
    ]
    return [*lines, *_legend(now, start, end)]


def _told(key: RingKey, ring: KeyRing, now: float) -> Iterator[Text]:
    kept = "KMS" if key.edition == IN_KMS else "a secret"
    yield Text(key.kid, style="bold")
    yield safe(f"{_INDENT}{key.alg}, kept in {kept}: {state(key, ring, now)}")
    for name, moment, otherwise in (
        ("announced", key.publish_from, ""),
        ("signs from", key.sign_from, ""),
        ("retired at", key.sign_until, "no date yet: when a successor signs"),
        ("deleted after", key.publish_until, "no date yet: when its last token has expired"),
    ):
        if moment is None:
            said = otherwise
        else:
            past = moment <= now
            away = f"{span(now - moment)} ago" if past else f"in {span(moment - now)}"
            said = f"{readable(moment)}, {away}"
        yield safe(f"{_INDENT}{name:<{_NAMES}}{said}")


def _legend(now: float, start: float, end: float) -> list[Text]:
    marks = "  ".join(f"{mark} {word}" for word, mark in _MARKS.items())
    return [
        safe(f"{_INDENT}{marks}  {_NOW} now, {readable(now)}"),
        safe(f"{_INDENT}drawn from {readable(start)} to {readable(end)}"),
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


def _drawn(key: RingKey, now: float, shown: tuple[float, float], columns: int) -> Text:
    start, end = shown
    step = (end - start) / columns
    marks = [_mark(key, start + (column + 0.5) * step) for column in range(columns)]
    marks[min(int((now - start) / step), columns - 1)] = _NOW
    open_end = "…" if key.sign_until is None else ""
    return Text(f"{_INDENT}{''.join(marks)}{open_end}")


def _mark(key: RingKey, moment: float) -> str:
    if not key.is_published(moment):
        return " "
    if moment < key.sign_from:
        return _MARKS[ANNOUNCED]
    return _MARKS[SIGNS] if key.may_sign(moment) else _MARKS[RETIRED]
