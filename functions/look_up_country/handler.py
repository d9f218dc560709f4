"""GET /country/code/{code} and GET /country: the countries of ISO 3166-1."""

import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pycountry

from authorizer.metrics import Meter

from ..shared.lambda_function import LambdaHandler
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import Endpoint
from ..shared.web.oauth_errors import InvalidRequestError, OAuthError
from ..shared.web.proxy_request import ProxyRequest
from ..shared.web.proxy_response import ProxyResponse, json_response

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
        self._sorted = sorted(set(self._by_code.values()), key=lambda country: country.code)
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

        An empty `after` starts at the beginning. Also returns the `after` of the next page, None after the last.

        Raises:
            MalformedCodeError: `after` is not an alpha-3 code.
        """
        if after and not _ALPHA_3.fullmatch(after):
            raise MalformedCodeError
        start = bisect_right(self._codes, after.upper())
        countries = self._sorted[start : start + limit]
        has_more = start + limit < len(self._sorted)
        return countries, countries[-1].code if has_more else None


DEFAULT_LIMIT = 50
MAX_LIMIT = 250

_LIMIT = re.compile(r"[1-9][0-9]{0,2}")


class NotFoundError(OAuthError):
    """Raised when a code is not assigned to a country."""

    code = "not_found"
    status = 404
    default_description = "No country has this code."


class UnauthorizedError(OAuthError):
    """Raised when the request did not pass the authorizer."""

    code = "unauthorized"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}
    default_description = "A valid bearer token is required."


@dataclass(frozen=True, slots=True)
class CountryLookup:
    """Responds with one country or with a page of the list. The authorizer decides on access."""

    countries: Countries

    def __call__(self, request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        """Respond to one request.

        Raises:
            UnauthorizedError: the request did not pass an authorizer.
            InvalidRequestError: a malformed code or paging parameter.
            NotFoundError: the code is not assigned.
        """
        principal = request.authorizer.get("principalId")
        if not principal:
            raise UnauthorizedError(reason="no authorizer is configured for this function")
        audit.note(client_id=request.authorizer.get("client_id", principal))
        code = request.path_parameters.get("code")
        return self._list(request) if code is None else self._look_up(code)

    def _look_up(self, code: str) -> ProxyResponse:
        try:
            return json_response(200, asdict(self.countries.find(code)))
        except MalformedCodeError:
            raise InvalidRequestError("A country code is AU, AUS or 036.") from None
        except UnknownCountryError:
            raise NotFoundError from None

    def _list(self, request: ProxyRequest) -> ProxyResponse:
        try:
            countries, after = self.countries.page(
                after=request.query_parameter("after") or "", limit=_limit(request.query_parameter("limit"))
            )
        except MalformedCodeError:
            raise InvalidRequestError("The parameter after must be an alpha-3 code.") from None
        members = {"countries": [asdict(country) for country in countries], "next": after}
        return json_response(200, members)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or int(text) > MAX_LIMIT:
        raise InvalidRequestError(f"The parameter limit must be 1 to {MAX_LIMIT}.")
    return int(text)


def build(*, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs neither settings nor a clock nor AWS."""
    return Endpoint("look_up_country", CountryLookup(Countries()), emit, meter=meter or Meter())


handle = LambdaHandler(lambda: build(meter=Meter.from_env(os.environ)))
