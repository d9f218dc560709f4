"""The two routes of the guarded API."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from functions.look_up_country.directory import (
    CountryDirectory,
    MalformedCodeError,
    UnknownCountryError,
)
from functions.shared.web.oauth_errors import InvalidRequestError, OAuthError
from functions.shared.web.responses import ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.proxy_request import ProxyRequest

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 250

_OK: Final = 200
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")


class NotFoundError(OAuthError):
    """Raised when no country has the code."""

    code = "not_found"
    status = 404
    default_description = "No country has this code."


class UnauthorizedError(OAuthError):
    """Raised when the request did not come through the authorizer."""

    code = "unauthorized"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}
    default_description = "A valid bearer token is required."


@dataclass(frozen=True, slots=True)
class CountryLookup:
    """Answers for one country or for a page of all. Who may ask is the authorizer's word alone."""

    directory: CountryDirectory

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one request.

        Raises:
            UnauthorizedError: no authorizer has let it through.
            InvalidRequestError: a malformed code or paging parameter.
            NotFoundError: no country has the code.
        """
        principal = request.authorizer.get("principalId")
        if not principal:
            raise UnauthorizedError(reason="no authorizer stands in front of this function")
        entry.note(client_id=request.authorizer.get("client_id", principal))
        code = request.path_parameters.get("code")
        return self._list(request) if code is None else self._look_up(code)

    def _look_up(self, code: str) -> ProxyResponse:
        try:
            return json_response(_OK, asdict(self.directory.find(code)))
        except MalformedCodeError:
            raise InvalidRequestError("A country code is AU, AUS or 036.") from None
        except UnknownCountryError:
            raise NotFoundError from None

    def _list(self, request: ProxyRequest) -> ProxyResponse:
        try:
            countries, after = self.directory.page(
                after=request.query_parameter("after") or "",
                limit=_limit(request.query_parameter("limit")),
            )
        except MalformedCodeError:
            raise InvalidRequestError("The parameter after must be an alpha-3 code.") from None
        members = {"countries": [asdict(country) for country in countries], "next": after}
        return json_response(_OK, members)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or int(text) > MAX_LIMIT:
        raise InvalidRequestError(f"The parameter limit must be 1 to {MAX_LIMIT}.")
    return int(text)
