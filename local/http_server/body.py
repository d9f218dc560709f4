"""Read a request's body, at most 10 MB of it, as API Gateway does. Source: RFC 9112, 6 and 7."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local.http_server.endings import BadRequestError, BodyTooLargeError
from local.http_server.head import FIELD, MAX_HEAD

if TYPE_CHECKING:
    from local.http_server.head import Head
    from local.http_server.stream import Stream

__all__ = ["read_body"]

_MAX_BODY = 10 * 1024 * 1024
_MAX_CHUNK_LINE = 256
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


def read_body(stream: Stream, head: Head) -> bytes:
    """Read the body of the request that `head` begins.

    Raises:
        BadRequestError: it is malformed or too slow.
        BodyTooLargeError: it is over the limit; what there is of it is left unread.
        ClosedError: the client has not sent all of it.
    """
    if not head.chunked and not head.length:
        return b""
    if head.length > _MAX_BODY:
        raise BodyTooLargeError
    if head.expects_continue and not stream.buffer:
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    deadline = stream.deadline()
    if head.chunked:
        return _read_chunks(stream, deadline)
    return stream.take(head.length, deadline)


def _read_chunks(stream: Stream, deadline: float) -> bytes:
    body = bytearray()
    while size := _read_chunk_size(stream, deadline):
        if len(body) + size > _MAX_BODY:
            raise BodyTooLargeError
        body += stream.take(size, deadline)
        if stream.take(2, deadline) != b"\r\n":
            raise BadRequestError(400, "Bad Request")
    _skip_trailers(stream, deadline)
    return bytes(body)


def _read_chunk_size(stream: Stream, deadline: float) -> int:
    match = _CHUNK_SIZE.fullmatch(stream.take_line(_MAX_CHUNK_LINE, deadline))
    if match is None:
        raise BadRequestError(400, "Bad Request")
    return int(match[1], 16)


def _skip_trailers(stream: Stream, deadline: float) -> None:
    skipped = 0
    while line := stream.take_line(_MAX_CHUNK_LINE, deadline):
        skipped += len(line)
        if skipped > MAX_HEAD or not FIELD.fullmatch(line):
            raise BadRequestError(400, "Bad Request")
