"""Parsing and formatting of times."""

import re
from datetime import UTC, datetime

from functions.shared.lifetimes import DAY

from .errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")


def parse_moment(text: str, now: float) -> int:
    """Return a moment, in seconds since the epoch: `now`, `7d` from now on, or a date in ISO 8601.

    A date without a zone is UTC.

    Raises:
        UsageError: the text has another format.
    """
    if text == "now":
        return int(now)
    duration = _DURATION.fullmatch(text)
    if duration:
        return int(now) + int(duration[1]) * _UNITS[duration[2]]
    try:
        moment = datetime.fromisoformat(text)
        # Converted at once, because the first and last day may be out of range in UTC.
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a time.", "Use now, 90s, 30m, 12h, 7d or 2027-01-31 (UTC).") from error
    return int(moment.timestamp())


def iso(moment: float | None) -> str | None:
    """Return a moment in ISO 8601, UTC."""
    if moment is None:
        return None
    return _date(moment).isoformat(timespec="seconds").replace("+00:00", "Z")


def readable(moment: float | None, *, otherwise: str = "") -> str:
    """Return a moment as text."""
    if moment is None:
        return otherwise
    return _date(moment).strftime("%Y-%m-%d %H:%M UTC")


def _date(moment: float) -> datetime:
    """Return a moment's date, at most the last one of the calendar."""
    return datetime.fromtimestamp(min(moment, _LAST), UTC)


def span(seconds: float) -> str:
    """Return a duration in its two largest units: `3 h 55 min`."""
    left = round(abs(seconds))
    parts: list[str] = []
    for name, size in (("d", DAY), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 s"
