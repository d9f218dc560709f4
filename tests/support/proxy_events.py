"""Proxy events as API Gateway sends them, payload format 1.0."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus, urlencode

FORM = "application/x-www-form-urlencoded"


def proxy_event(
    method: str,
    path: str,
    *,
    headers: Mapping[str, str | Sequence[str]] | None = None,
    query: Mapping[str, str | Sequence[str]] | None = None,
    body: str | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Build an event. A header or parameter given as a list was sent that often."""
    many_headers = _many(headers)
    many_query = _many(query)
    return {
        "version": "1.0",
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in many_headers.items()},
        "multiValueHeaders": many_headers,
        "queryStringParameters": {name: values[-1] for name, values in many_query.items()} or None,
        "multiValueQueryStringParameters": many_query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "JKJaXmPLvHcESHA=",
            "identity": {"sourceIp": "192.0.2.7", "userAgent": "curl/8.5.0"},
        },
        "body": body,
        "isBase64Encoded": False,
        **rest,
    }


def form_event(
    path: str,
    parameters: Mapping[str, str] | Sequence[tuple[str, str]] | str,
    *,
    headers: Mapping[str, str | Sequence[str]] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Build a form POST. A text is sent as it is."""
    body = parameters if isinstance(parameters, str) else urlencode(parameters)
    return proxy_event("POST", path, headers={"Content-Type": FORM, **(headers or {})}, body=body, **rest)


def token_event(parameters: Mapping[str, str] | Sequence[tuple[str, str]] | str, **rest: Any) -> dict[str, Any]:
    """Build a token request."""
    return form_event("/oauth2/token", parameters, **rest)


def basic(client_id: str, secret: str) -> dict[str, str]:
    """Return an Authorization header for HTTP Basic. RFC 6749, 2.3.1."""
    credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


def _many(given: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    return {name: [values] if isinstance(values, str) else list(values) for name, values in (given or {}).items()}
