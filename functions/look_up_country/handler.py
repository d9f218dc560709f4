"""GET /country/code/{code} and GET /country: the countries of ISO 3166-1."""

import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from operator import itemgetter

import pycountry

from authorizer.metrics import Meter

from ..shared.lambda_function import LambdaHandler
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import Endpoint, ProxyResponse, json_response
from ..shared.web.oauth_errors import InvalidRequestError, OAuthError
from ..shared.web.proxy_request import ProxyRequest

DEFAULT_LIMIT = 50
MAX_LIMIT = 250

_CODE = re.compile(r"[A-Za-z]{2,3}|[0-9]{3}")
_ALPHA_3 = re.compile(r"[A-Za-z]{3}")
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")

_BY_ALPHA_3 = itemgetter("code")


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


class CountryLookup:
    """Responds with one country or with a page of the list, in the order of alpha-3 codes.

    A country has its alpha-3 code and its name in upper case. The authorizer decides on access.
    """

    def __init__(self) -> None:
        self._by_code: dict[str, dict[str, str]] = {}
        self._countries: list[dict[str, str]] = []
        for entry in pycountry.countries:
            country = {"code": entry.alpha_3, "name": entry.name.upper()}
            self._countries.append(country)
            self._by_code |= dict.fromkeys((entry.alpha_2, entry.alpha_3, entry.numeric), country)
        self._countries.sort(key=_BY_ALPHA_3)

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
        if not _CODE.fullmatch(code):
            raise InvalidRequestError("A country code is AU, AUS or 036.")
        country = self._by_code.get(code.upper())
        if country is None:
            raise NotFoundError
        return json_response(200, country)

    def _list(self, request: ProxyRequest) -> ProxyResponse:
        """Return up to `limit` countries whose codes come after `after`, and the `after` of the next page."""
        after = request.query_parameter("after") or ""
        limit = _limit(request.query_parameter("limit"))
        if after and not _ALPHA_3.fullmatch(after):
            raise InvalidRequestError("The parameter after must be an alpha-3 code.")
        start = bisect_right(self._countries, after.upper(), key=_BY_ALPHA_3)
        page = self._countries[start : start + limit]
        has_more = start + limit < len(self._countries)
        return json_response(200, {"countries": page, "next": page[-1]["code"] if has_more else None})


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or int(text) > MAX_LIMIT:
        raise InvalidRequestError(f"The parameter limit must be 1 to {MAX_LIMIT}.")
    return int(text)


def build(*, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs neither settings nor a clock nor AWS."""
    return Endpoint("look_up_country", CountryLookup(), emit, meter=meter or Meter())


handle = LambdaHandler(lambda: build(meter=Meter.from_env(os.environ)))
