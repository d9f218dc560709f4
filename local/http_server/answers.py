"""Write a response as one message."""

from __future__ import annotations

import http
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.gateway.messages import Response

__all__ = ["message_of"]

_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_NO_BODY = {204, 304}


def message_of(response: Response, *, close: bool, head_only: bool = False) -> bytes:
    """Return the bytes that carry `response`; `close` says that no other will follow."""
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}",
        f"Date: {_http_date(int(time.time()))}",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status not in _NO_BODY:
        lines.append(f"Content-Length: {len(response.body)}")
    lines.append("Connection: close" if close else "Connection: keep-alive")
    text = "\r\n".join(lines) + "\r\n\r\n"
    try:
        message = text.encode("latin-1")
    except UnicodeEncodeError:
        message = text.encode()
    if head_only or response.status in _NO_BODY:
        return message
    return message + response.body


_date: tuple[int, str] = (0, "")


def _http_date(second: int) -> str:
    global _date  # noqa: PLW0603 - remembered for one second; a race costs a second formatting
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
