"""A small HTTP/1.1 server: strict about what it reads, one write for each answer.

Source: RFC 9112. `server` takes connections and `connection` serves each. Below them, `head` and
`body` read requests from a `stream`, `answers` writes what goes back, `peer` describes a client's
certificate, and `turns` keeps threads out of each other's way.
"""

from local.http_server.server import Application, Server
from local.http_server.stream import Timeouts

__all__ = ["Application", "Server", "Timeouts"]
