"""WSGI middleware: guards a whole application of Flask, Django, Pyramid or Bottle."""

from collections.abc import Callable, Iterable
from typing import Any

from ..access_tokens import AccessTokenError, AccessTokens, HttpRequest, as_tuple

TOKEN_KEY = "gatehouse.token"
"""The member of the WSGI environment with the verified token."""

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_REASON_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


class AccessTokenMiddleware:
    """Passes requests with a valid token on. They need all of `scopes`.

    Requests for the paths in `public` need no token.
    """

    def __init__(
        self, app: Application, tokens: AccessTokens, scopes: str | Iterable[str] = (), public: str | Iterable[str] = ()
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._scopes = as_tuple(scopes)
        self._public = frozenset(as_tuple(public))

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = read_request(environ)
        if request.path in self._public:
            return self._app(environ, start_response)
        try:
            environ[TOKEN_KEY] = self._tokens.verify(request, *self._scopes)
        except AccessTokenError as error:
            body = error.body
            headers = [*error.headers.items(), ("Content-Length", str(len(body)))]
            start_response(f"{error.status} {_REASON_PHRASES[error.status]}", headers)
            return [body]
        return self._app(environ, start_response)


def read_request(environ: dict[str, Any]) -> HttpRequest:
    """Return the request of a WSGI environment, whose server has decoded the path (PEP 3333)."""
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "replace")
    headers = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
    return HttpRequest(environ["REQUEST_METHOD"], path, headers, environ.get("QUERY_STRING", ""), path_was_decoded=True)
