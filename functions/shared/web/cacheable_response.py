"""Public JSON documents with CORS and cache headers."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from .proxy_request import ProxyRequest
from .responses import ProxyResponse, response

METHODS = ("GET", "HEAD", "OPTIONS")

_EVERY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Mapping[str, str] = {
    **_EVERY_ORIGIN,
    "Access-Control-Allow-Methods": "GET, HEAD",
    # The header of a conditional request, which CORS does not safelist.
    "Access-Control-Allow-Headers": "If-None-Match",
    "Access-Control-Max-Age": "86400",
    "Allow": ", ".join(METHODS),
}


def cacheable_response(request: ProxyRequest, body: str, max_age: int) -> ProxyResponse:
    """Return a document, or 304 if the caller has it. RFC 9110, 9.3 and 13.1.2.

    OPTIONS, a browser's preflight, gets the allowed methods. HEAD is handled like GET: API Gateway
    does not send its body.
    """
    if request.method == "OPTIONS":
        return response(204, "", _PREFLIGHT)
    headers = {
        "ETag": _entity_tag(body),
        "Cache-Control": f"public, max-age={max_age}",
        "Access-Control-Expose-Headers": "ETag",
        **_EVERY_ORIGIN,
    }
    if _is_current(headers["ETag"], request.headers.get("if-none-match", ())):
        return response(304, "", headers)
    return response(200, body, {"Content-Type": "application/json", **headers})


def _entity_tag(body: str) -> str:
    return f'"{sha256(body.encode()).hexdigest()[:32]}"'


def _is_current(entity_tag: str, if_none_match: tuple[str, ...]) -> bool:
    known = [tag.strip().removeprefix("W/") for line in if_none_match for tag in line.split(",")]
    return entity_tag in known or "*" in known
