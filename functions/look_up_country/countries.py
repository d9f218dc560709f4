"""The countries of ISO 3166-1, by each of their three codes."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import pycountry

_CODE = re.compile(r"[A-Za-z]{2,3}|[0-9]{3}")
_ALPHA_3 = re.compile(r"[A-Za-z]{3}")


class MalformedCodeError(Exception):
    """Raised when a string is neither an alpha-2, an alpha-3 nor a numeric code."""


class UnknownCountryError(Exception):
    """Raised when a well-formed code is not assigned."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country: its alpha-3 code and its name in upper case."""

    code: str
    name: str


class Countries:
    """Finds countries and pages through them, ordered by alpha-3 code."""

    def __init__(self) -> None:
        self._by_code: dict[str, Country] = {}
        for entry in pycountry.countries:
            country = Country(entry.alpha_3, entry.name.upper())
            for code in (entry.alpha_2, entry.alpha_3, entry.numeric):
                self._by_code[code] = country
        self._sorted = _unique_sorted(self._by_code.values())
        self._codes = [country.code for country in self._sorted]

    def find(self, code: str) -> Country:
        """Return the country with this alpha-2, alpha-3 or numeric code, in either case.

        Raises:
            MalformedCodeError: it is not a code.
            UnknownCountryError: it is not assigned.
        """
        if not _CODE.fullmatch(code):
            raise MalformedCodeError
        try:
            return self._by_code[code.upper()]
        except KeyError:
            raise UnknownCountryError from None

    def page(self, *, after: str, limit: int) -> tuple[list[Country], str | None]:
        """Return up to `limit` countries whose alpha-3 code comes after a given one.

        An empty `after` starts at the beginning. Also returns the `after` of the next page, None
        after the last.

        Raises:
            MalformedCodeError: `after` is not an alpha-3 code.
        """
        if after and not _ALPHA_3.fullmatch(after):
            raise MalformedCodeError
        start = bisect_right(self._codes, after.upper())
        countries = self._sorted[start : start + limit]
        has_more = start + limit < len(self._sorted)
        return countries, countries[-1].code if has_more else None


def _unique_sorted(countries: Iterable[Country]) -> list[Country]:
    return sorted(set(countries), key=lambda country: country.code)
