"""The API Gateway authorizer event, in each of its formats.

REST APIs and payload format 1.0 share one form, payload format 2.0 has its own. The event of a WebSocket API's
`$connect` has neither method nor path. REST TOKEN events carry the value of the Authorization header; all others carry
the headers, with names in the caller's spelling. Load balancer events, whose `requestContext` has the member `elb`, are
for the library: it writes each HTTP request as one.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from .errors import InvalidTokenError, PolicyError, Reason, UnsupportedEventError

_DPOP = "dpop"
_SCHEMES = ("bearer", _DPOP)
_TOKEN_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_UNESCAPED = "/:@!$&'()*+,;=~"

# Policies contain these parts. None may have a wildcard, a slash or a policy variable.
_STAGE_ARN = re.compile(r"arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]+:[A-Za-z0-9]+/(?:[A-Za-z0-9_-]+|\$default)/")


class PresentedToken(NamedTuple):
    """A token and its scheme: Bearer (RFC 6750, 2.1), or DPoP with a proof (RFC 9449, 7.1)."""

    token: str
    has_dpop_scheme: bool = False


class AuthorizerEvent:
    """One authorizer event. Each value is parsed when it is first needed."""

    __slots__ = ("_event", "_stage_arn")

    def __init__(self, event: Mapping[str, object]) -> None:
        self._event = event
        self._stage_arn: str | None = None

    def presented_token(self) -> PresentedToken:
        """Return the access token of the request.

        Raises:
            InvalidTokenError: there is none, there are several, its scheme is not Bearer or DPoP,
                or it is also in the query.
        """
        event = self._event
        values = [event.get("authorizationToken")] if event.get("type") == "TOKEN" else self._header("authorization")
        value = values[0] if len(values) == 1 else None
        if not isinstance(value, str):
            raise InvalidTokenError(_header_fault(values))
        scheme, _, rest = value.partition(" ")
        scheme, token = scheme.lower(), rest.lstrip(" ")
        if scheme not in _SCHEMES or not _is_b64token(token):
            raise InvalidTokenError(_credentials_fault(scheme, rest))
        query = event.get("queryStringParameters") or event.get("multiValueQueryStringParameters")
        if isinstance(query, dict) and "access_token" in query:
            raise InvalidTokenError(Reason.CREDENTIALS_SEVERAL)
        return PresentedToken(token, scheme == _DPOP)

    def dpop_proof(self) -> str:
        """Return the value of the DPoP header.

        Raises:
            InvalidTokenError: there is none, or there are several.
        """
        values = self._header(_DPOP)
        if not values:
            raise InvalidTokenError(Reason.PROOF_MISSING)
        if len(values) > 1 or not isinstance(values[0], str) or "," in values[0]:
            raise InvalidTokenError(Reason.PROOF_SEVERAL)
        return values[0]

    def client_certificate(self) -> str | None:
        """Return the client certificate of mutual TLS in PEM, None without one."""
        context = _member(self._event, "requestContext")
        identity = _member(context, "identity") or _member(context, "authentication")
        pem = _member(identity, "clientCert").get("clientCertPem")
        return pem if isinstance(pem, str) else None

    def request_id(self) -> object:
        """Return the request's ID, for the log."""
        context = self._event.get("requestContext")
        return context.get("requestId") if isinstance(context, dict) else None

    def stage_arn(self) -> str:
        """Return the part of the method ARN that all methods of the stage share.

        The rest of `arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/{METHOD}/{path}`
        comes from the caller and is ignored.

        Raises:
            PolicyError: the event has no method ARN.
        """
        if self._stage_arn is not None:
            return self._stage_arn
        arn = self._event.get("methodArn") or self._event.get("routeArn")
        if not isinstance(arn, str):
            raise PolicyError(Reason.METHOD_ARN_MALFORMED)
        second_slash = arn.find("/", arn.find("/") + 1)
        self._stage_arn = stage_arn = _check_stage_arn(arn[: second_slash + 1])
        return stage_arn

    def api_id(self) -> str:
        """Return the API's ID.

        Raises:
            PolicyError: the event has no method ARN.
        """
        return self.stage_arn().rpartition(":")[2].partition("/")[0]

    def route_key(self) -> str:
        """Return the route that an HTTP API chose, with the request's method instead of `ANY`.

        Raises:
            UnsupportedEventError: the event does not have payload format 2.0.
        """
        key = self._event.get("routeKey")
        if not isinstance(key, str):
            raise UnsupportedEventError(Reason.EVENT_KIND)
        return f"{self.method()}{key.removeprefix('ANY')}" if key.startswith("ANY ") else key

    def method(self) -> str:
        """Return the request's method.

        Raises:
            UnsupportedEventError: the event has no method.
        """
        context = _member(self._event, "requestContext")
        name = self._event.get("httpMethod") or _member(context, "http").get("method")
        if name is None and context.get("eventType") == "CONNECT":
            return "GET"  # WebSocket handshakes are GET
        if not isinstance(name, str):
            raise UnsupportedEventError(Reason.EVENT_KIND)
        return name

    def path_was_decoded(self) -> bool:
        """Return whether API Gateway decoded the path of the request, as HTTP APIs do."""
        return "version" in self._event

    def url(self, resource: str | None) -> str:
        """Return the URL of the request without its query.

        The path is the caller's, with the stage or the base path of a custom domain. Scheme and host come from
        `resource`, the configured URL of the API. Without it, the host is the event's domain name, never a header. At
        an execute-api domain, `resource` replaces the stage, because a proxy may remove the stage from the path. The
        event of a load balancer has no domain name: it requires `resource`.

        Raises:
            UnsupportedEventError: the event has no domain name or no path.
        """
        context = _member(self._event, "requestContext")
        domain, stage = context.get("domainName"), context.get("stage")
        path = context.get("path") or _member(context, "http").get("path")
        if path is None and context.get("eventType") == "CONNECT":
            path = f"/{stage}"
        if "elb" in context:
            domain, path = "", self._event.get("path")
        if not isinstance(path, str) or not isinstance(domain, str) or not (domain or resource):
            raise UnsupportedEventError(Reason.ADDRESS_UNKNOWN)
        if self.path_was_decoded():
            path = _escape(path)
        if resource is None:
            return f"https://{domain}{path}"
        origin, prefix = _split(resource)
        if domain.startswith(f"{context.get('apiId')}."):
            return resource + _remove_prefix(path, f"/{stage}")
        return origin + prefix + _remove_prefix(path, prefix)

    def _header(self, wanted: str) -> list[object]:
        """Return every value of a header, whose name is given in lower case.

        `headers` has only the last of several headers with one name, `multiValueHeaders` has all.
        Payload format 2.0 joins them with commas.
        """
        headers = self._event.get("multiValueHeaders") or self._event.get("headers")
        if not isinstance(headers, dict):
            return []
        values: list[object] = []
        length = len(wanted)
        for name, value in headers.items():
            if len(name) == length and name.lower() == wanted:
                values += value if isinstance(value, list) else [value]
        return values


# An authorizer serves few stages. Only valid ones are cached.
@lru_cache(maxsize=256)
def _check_stage_arn(arn: str) -> str:
    """Return the ARN of a stage without its final slash."""
    if not _STAGE_ARN.fullmatch(arn):
        raise PolicyError(Reason.METHOD_ARN_MALFORMED)
    return arn[:-1]


def _is_b64token(text: str) -> bool:
    """Return whether a text has the form of a token. Faster than a pattern, on every request."""
    core = text.rstrip("=")
    return bool(core) and core.isascii() and not core.encode().translate(None, _TOKEN_CHARACTERS)


def _header_fault(values: list[object]) -> Reason:
    if not all(isinstance(value, str) for value in values):
        return Reason.CREDENTIALS_MALFORMED
    return Reason.CREDENTIALS_SEVERAL if values else Reason.CREDENTIALS_MISSING


def _credentials_fault(scheme: str, rest: str) -> Reason:
    if not f"{scheme}{rest}".strip():
        return Reason.CREDENTIALS_MISSING
    if scheme not in _SCHEMES:
        no_space = scheme.startswith(_SCHEMES)
        return Reason.CREDENTIALS_MALFORMED if no_space else Reason.SCHEME_WRONG
    return Reason.CREDENTIALS_SEVERAL if "," in rest else Reason.CREDENTIALS_MALFORMED


def _member(whole: Mapping[str, object], name: str) -> Mapping[str, object]:
    member = whole.get(name)
    return member if isinstance(member, dict) else {}


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", slash + path


def _remove_prefix(path: str, prefix: str) -> str:
    return path[len(prefix) :] if path == prefix or path.startswith(f"{prefix}/") else path


def _escape(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe=_UNESCAPED)
