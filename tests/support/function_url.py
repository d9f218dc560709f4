"""Serve a Lambda handler as a function URL does: `python function_url.py module:handler PORT`.

Runs outside of the tests' process, with the wheel instead of the repository.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any
from urllib.parse import unquote

NAME, PORT = sys.argv[1], int(sys.argv[2])
MODULE, ATTRIBUTE = NAME.split(":")
sys.path.insert(0, "")
function = getattr(import_module(MODULE), ATTRIBUTE)


def event_of(handler: BaseHTTPRequestHandler) -> dict[str, Any]:
    """Return the request as an event, payload format 2.0."""
    path, _, query = handler.path.partition("?")
    headers = {name.lower(): ",".join(handler.headers.get_all(name, [])) for name in handler.headers}
    http = {"method": handler.command, "path": unquote(path), "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
    domain = "abc.lambda-url.eu-west-1.on.aws"
    context = {"http": http, "stage": "$default", "requestId": "id", "domainName": domain, "apiId": "abc"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(path),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }


class Handler(BaseHTTPRequestHandler):
    """Calls the function for each request."""

    def _handle(self) -> None:
        response = function(event_of(self), None)
        body = response["body"].encode()
        self.send_response(response["statusCode"])
        many = {name: values[0] for name, values in response.get("multiValueHeaders", {}).items()}
        for name, value in {**response.get("headers", {}), **many, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _handle

    def log_message(self, *_: object) -> None:
        """Log nothing."""


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
