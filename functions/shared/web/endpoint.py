"""The frame of all endpoints: parse the event, map errors to responses, log one line.

Also the responses for API Gateway's proxy integration: JSON, errors, and documents with CORS and cache headers.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypedDict

from authorizer.metrics import ERROR, Meter

from ..json_encoding import json_encoder
from ..metrics import FAILURES, REQUESTS
from ..storage.errors import StorageError, StorageUnavailableError
from .audit import AuditEntry, Emit
from .oauth_errors import MethodNotAllowedError, OAuthError, ServerError, TemporarilyUnavailableError
from .proxy_request import ProxyRequest, read_event

TOKEN_PATH = "/oauth2/token"
JWKS_PATH = "/oauth2/jwks"
INTROSPECTION_PATH = "/oauth2/introspect"
REVOCATION_PATH = "/oauth2/revoke"
AUTHORIZATION_PATH = "/oauth2/authorize"
METADATA_PATH = "/.well-known/oauth-authorization-server"
DISCOVERY_PATH = "/.well-known/openid-configuration"
"""Paths below the issuer, as template.yaml routes them."""

_FRAMES = 4
_SERVER_SIDE = 500
_NOT_IN_DESCRIPTIONS = re.compile(r"[^\x20-\x21\x23-\x5B\x5D-\x7E]")

NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""Headers of each response that contains a token or information about one. RFC 6749, 5.1."""

to_json = json_encoder(ensure_ascii=False)


class ProxyResponse(TypedDict):
    """The result of a Lambda function for API Gateway, payload format 1.0."""

    statusCode: int
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


def response(status: int, body: str, headers: Mapping[str, str]) -> ProxyResponse:
    """Return a response with a status, a body and headers."""
    return {"statusCode": status, "headers": dict(headers), "body": body, "isBase64Encoded": False}


def json_response(
    status: int, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> ProxyResponse:
    """Return a JSON response in UTF-8. RFC 8259, 8.1 and 11: the media type has no charset."""
    return response(status, to_json(members), {"Content-Type": "application/json", **(headers or {})})


def to_response(error: OAuthError) -> ProxyResponse:
    """Return an error's response: code and description, without reason and cause. RFC 6749, 5.2."""
    members = {"error": error.code, "error_description": _NOT_IN_DESCRIPTIONS.sub("?", error.description)}
    return json_response(error.status, members, {**NO_STORE, **error.headers})


Respond = Callable[[ProxyRequest, AuditEntry], ProxyResponse]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: turns each proxy event into a proxy response.

    `methods` are the allowed HTTP methods; empty if its routes allow only those. `prepare` fetches what a first request
    needs.
    """

    name: str
    respond: Respond
    emit: Emit
    methods: tuple[str, ...] = ()
    meter: Meter = field(default_factory=Meter)
    prepare: Callable[[], object] = bool

    def __call__(self, event: Mapping[str, Any]) -> ProxyResponse:
        """Respond to one event. No error is raised; its cause is logged and not sent."""
        audit = AuditEntry(self.name)
        try:
            answer = self._answer(event, audit)
        except (OAuthError, StorageError) as error:
            refusal = _of_storage(error) if isinstance(error, StorageError) else error
            answer = to_response(refusal)
            audit.note(outcome=refusal.code, reason=error.reason, cause=_cause(error))
            audit.count(*error.metrics)
        except Exception as error:  # noqa: BLE001 - no trace may reach a caller
            answer = to_response(ServerError())
            audit.note(outcome=ServerError.code, reason="unexpected", cause=_origin(error))
        audit.note(status=answer["statusCode"])
        self.emit(self._line(audit, answer["statusCode"]))
        return answer

    def _line(self, audit: AuditEntry, status: int) -> str:
        for metric in audit.counted:
            self.meter.record(metric)
        if status >= _SERVER_SIDE:
            end = self.meter.writer(REQUESTS, FAILURES, level=ERROR)
        else:
            end = self.meter.writer(REQUESTS)
        return f"{audit.to_json()[:-1]}{end()}}}"

    def _answer(self, event: Mapping[str, Any], audit: AuditEntry) -> ProxyResponse:
        request = read_event(event)
        audit.note(request_id=request.request_id, source_ip=request.source_ip, outcome="success")
        if self.methods and request.method not in self.methods:
            raise MethodNotAllowedError(self.methods)
        return self.respond(request, audit)


def _of_storage(error: StorageError) -> OAuthError:
    is_temporary = isinstance(error, StorageUnavailableError)
    return TemporarilyUnavailableError() if is_temporary else ServerError()


def _cause(error: BaseException) -> str | None:
    return _origin(error.__cause__) if error.__cause__ else None


def _origin(error: BaseException) -> str:
    """Return an error's type and location, without its message, which may contain a secret."""
    # Imported here because they are slow to import, and few requests fail.
    import traceback
    from pathlib import PurePath

    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    return " < ".join([type(error).__name__, *places])


METHODS = ("GET", "HEAD", "OPTIONS")

_EVERY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Mapping[str, str] = {
    **_EVERY_ORIGIN,
    "Access-Control-Allow-Methods": "GET, HEAD",
    # The header of a conditional request, which CORS does not safelist.
    "Access-Control-Allow-Headers": "If-None-Match",
    "Access-Control-Max-Age": "86400",
    "Allow": ", ".join(METHODS),
}


def cacheable_response(request: ProxyRequest, body: str, max_age: int) -> ProxyResponse:
    """Return a document, or 304 if the caller has it. RFC 9110, 9.3 and 13.1.2.

    OPTIONS, a browser's preflight, gets the allowed methods. HEAD is handled like GET: API Gateway
    does not send its body.
    """
    if request.method == "OPTIONS":
        return response(204, "", _PREFLIGHT)
    headers = {
        "ETag": f'"{sha256(body.encode()).hexdigest()[:32]}"',
        "Cache-Control": f"public, max-age={max_age}",
        "Access-Control-Expose-Headers": "ETag",
        **_EVERY_ORIGIN,
    }
    if _is_current(headers["ETag"], request.headers.get("if-none-match", ())):
        return response(304, "", headers)
    return response(200, body, {"Content-Type": "application/json", **headers})


def _is_current(entity_tag: str, if_none_match: tuple[str, ...]) -> bool:
    known = [tag.strip().removeprefix("W/") for line in if_none_match for tag in line.split(",")]
    return entity_tag in known or "*" in known
