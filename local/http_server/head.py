"""Read a request's line and headers, at most 10,240 bytes of them, as API Gateway does.

Source: RFC 9112, 2 to 6. Whatever could be read in two ways is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.http_server.endings import BadRequestError

if TYPE_CHECKING:
    from local.http_server.stream import Stream

__all__ = ["FIELD", "MAX_HEAD", "Head", "read_head"]

MAX_HEAD = 10_240
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*)")

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21-\x7e]+) HTTP/(1\.[01])")
_OTHER_VERSION = re.compile(rb"\S+ \S+ HTTP/(?!1\.[01])\d(\.\d)?")
_ABSOLUTE_TARGET = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """A request's line and headers, and what they say of its body and its connection."""

    method: str
    path: str
    query: str
    protocol: str
    headers: tuple[tuple[str, str], ...]
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool


def read_head(stream: Stream) -> Head:
    """Wait for a request, and read it up to its body.

    Raises:
        BadRequestError: it is no request, or too long, or too slow.
        ClosedError: there is none.
    """
    buffer = stream.buffer
    stream.await_request()
    deadline = None
    while True:
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end >= 0:
            break
        if len(buffer) >= MAX_HEAD:
            if b"\r\n" in buffer[:MAX_HEAD]:
                raise BadRequestError(431, "Request Header Fields Too Large")
            raise BadRequestError(414, "Request URI Too Long")
        if buffer:
            deadline = deadline or stream.deadline()
            stream.receive_until(deadline)
        else:
            stream.receive()
    head = bytes(buffer[:end])
    del buffer[: end + 4]
    return _parse(head)


def _parse(head: bytes) -> Head:
    line, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _OTHER_VERSION.fullmatch(line):
            raise BadRequestError(505, "HTTP Version Not Supported")
        raise BadRequestError(400, "Bad Request")
    path, query = _parse_target(match[2].decode("ascii"))
    headers: list[tuple[str, str]] = []
    named: dict[str, list[str]] = {}
    for field in fields:
        found = FIELD.fullmatch(field)
        if found is None:
            raise BadRequestError(400, "Bad Request")
        name = found[1].decode("ascii")
        value = found[2].rstrip(b" \t").decode("latin-1")
        headers.append((name, value))
        named.setdefault(name.lower(), []).append(value)
    version = match[3]
    if len(named.get("host", [])) != 1 and (version == b"1.1" or "host" in named):
        raise BadRequestError(400, "Bad Request")
    chunked = _is_chunked(named, version)
    expects = [value.lower() for value in named.get("expect", [])]
    if expects not in ([], ["100-continue"]):
        raise BadRequestError(417, "Expectation Failed")
    return Head(
        method=match[1].decode("ascii"),
        path=path,
        query=query,
        protocol=f"HTTP/{version.decode('ascii')}",
        headers=tuple(headers),
        length=_content_length(named),
        chunked=chunked,
        keep_alive=_keeps_alive(named, version),
        expects_continue=bool(expects) and version == b"1.1",
    )


def _parse_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        absolute = _ABSOLUTE_TARGET.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith("/") else f"/{target}"
        elif target != "*":
            raise BadRequestError(400, "Bad Request")
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def _content_length(named: dict[str, list[str]]) -> int:
    values = named.get("content-length")
    if values is None:
        return 0
    if len(set(values)) != 1 or not (values[0].isascii() and values[0].isdigit()):
        raise BadRequestError(400, "Bad Request")
    return int(values[0].lstrip("0")[:18] or "0")


def _is_chunked(named: dict[str, list[str]], version: bytes) -> bool:
    codings = named.get("transfer-encoding")
    if codings is None:
        return False
    if "content-length" in named or version != b"1.1":
        raise BadRequestError(400, "Bad Request")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise BadRequestError(501, "Not Implemented")
    return True


def _keeps_alive(named: dict[str, list[str]], version: bytes) -> bool:
    options = {
        option.strip().lower()
        for value in named.get("connection", [])
        for option in value.split(",")
    }
    return "close" not in options and (version == b"1.1" or "keep-alive" in options)
