"""What an API Gateway authorizer event says about the request, in each of its formats.

REST APIs and payload format 1.0 share one form, payload format 2.0 has its own. A WebSocket API's
`$connect` is the GET request that opens the connection; its event has neither method nor path.
"""

from collections.abc import Mapping

from authorizer.errors import Reason, UnsupportedEventError
from authorizer.method_arn import stage_arn

_UNCHANGED = "/:@!$&'()*+,;=~"


def header_values(event: Mapping[str, object], header: str) -> list[object]:
    """Return every value of a header, named in lower case; payload format 2.0 joins them by comma.

    `headers` keeps the last of several headers with one name; `multiValueHeaders` keeps all.
    """
    headers = event.get("multiValueHeaders") or event.get("headers")
    if not isinstance(headers, dict):
        return []
    values: list[object] = []
    for name, value in headers.items():
        if len(name) == len(header) and name.lower() == header:
            values.extend(value if isinstance(value, list) else [value])
    return values


def method(event: Mapping[str, object]) -> str:
    """Return the request's method.

    Raises:
        UnsupportedEventError: the event names none.
    """
    context = _part(event, "requestContext")
    name = event.get("httpMethod") or _part(context, "http").get("method")
    if name is None and context.get("eventType") == "CONNECT":
        return "GET"
    if not isinstance(name, str):
        raise UnsupportedEventError(Reason.EVENT_KIND)
    return name


def url(event: Mapping[str, object], resource: str | None) -> str:
    """Return the address that the request was sent to, without its query.

    The path is the one that the caller used, with the stage or with a custom domain's mapping.
    Host and scheme are those of `resource`, our own address by configuration; without one they are
    the domain name by which API Gateway knows the API, never a header. At the API's own execute-api
    address `resource` takes the place of the stage, for something in front may hide it.

    Raises:
        UnsupportedEventError: the event does not tell.
    """
    context = _part(event, "requestContext")
    domain, stage_name = context.get("domainName"), context.get("stage")
    path = context.get("path") or _part(context, "http").get("path")
    if path is None and context.get("eventType") == "CONNECT":
        path = f"/{stage_name}"
    if not isinstance(domain, str) or not isinstance(path, str):
        raise UnsupportedEventError(Reason.ADDRESS_UNKNOWN)
    if path_was_decoded(event):
        path = _encode(path)
    if resource is None:
        return f"https://{domain}{path}"
    origin, prefix = _split(resource)
    if domain.startswith(f"{context.get('apiId')}."):
        return resource + _without_prefix(path, f"/{stage_name}")
    return origin + prefix + _without_prefix(path, prefix)


def path_was_decoded(event: Mapping[str, object]) -> bool:
    """Return whether API Gateway decoded the path of the request, as HTTP APIs do."""
    return "version" in event


def stage(event: Mapping[str, object]) -> str:
    """Return the ARN of the stage that the request was sent to.

    Raises:
        PolicyError: the event names none.
    """
    return stage_arn(event.get("methodArn") or event.get("routeArn"))


def client_certificate(event: Mapping[str, object]) -> str | None:
    """Return the certificate of mutual TLS in PEM, None if there was none."""
    context = _part(event, "requestContext")
    place = _part(context, "identity") or _part(context, "authentication")
    pem = _part(place, "clientCert").get("clientCertPem")
    return pem if isinstance(pem, str) else None


def route_key(event: Mapping[str, object]) -> str:
    """Return the route that an HTTP API chose, with the request's method in place of `ANY`.

    Raises:
        UnsupportedEventError: this is no event of payload format 2.0.
    """
    key = event.get("routeKey")
    if not isinstance(key, str):
        raise UnsupportedEventError(Reason.EVENT_KIND)
    return f"{method(event)}{key[3:]}" if key.startswith("ANY ") else key


def _part(whole: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _split(address: str) -> tuple[str, str]:
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", slash + path


def _without_prefix(path: str, prefix: str) -> str:
    return path[len(prefix) :] if path == prefix or path.startswith(f"{prefix}/") else path


def _encode(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe=_UNCHANGED)
