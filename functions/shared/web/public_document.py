"""JSON documents that everyone may read, in any browser, and keep for a while."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from functions.shared.web.proxy_request import ProxyRequest
from functions.shared.web.responses import ProxyResponse, response

METHODS: Final = ("GET", "HEAD", "OPTIONS")

_OK: Final = 200
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304
_EVERY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Final[Mapping[str, str]] = {
    **_EVERY_ORIGIN,
    "Access-Control-Allow-Methods": "GET, HEAD",
    # What is not safelisted and still makes sense here: a conditional request.
    "Access-Control-Allow-Headers": "If-None-Match",
    "Access-Control-Max-Age": "86400",
    "Allow": ", ".join(METHODS),
}


def answer(request: ProxyRequest, body: str, max_age: int) -> ProxyResponse:
    """Answer with a document, or that the caller has it already. RFC 9110, 9.3 and 13.1.2.

    OPTIONS, which a browser may ask first, is told what is allowed. HEAD is answered like GET: the
    gateway sends no body then.
    """
    if request.method == "OPTIONS":
        return response(_NO_CONTENT, "", _PREFLIGHT)
    headers = {
        "ETag": _entity_tag(body),
        "Cache-Control": f"public, max-age={max_age}",
        "Access-Control-Expose-Headers": "ETag",
        **_EVERY_ORIGIN,
    }
    if _is_current(headers["ETag"], request.headers.get("if-none-match", ())):
        return response(_NOT_MODIFIED, "", headers)
    return response(_OK, body, {"Content-Type": "application/json", **headers})


def _entity_tag(body: str) -> str:
    return f'"{sha256(body.encode()).hexdigest()[:32]}"'


def _is_current(entity_tag: str, if_none_match: tuple[str, ...]) -> bool:
    known = [tag.strip().removeprefix("W/") for line in if_none_match for tag in line.split(",")]
    return entity_tag in known or "*" in known
