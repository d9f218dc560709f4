"""The frame of all endpoints: parse the event, map errors to responses, log one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authorizer.metrics import ERROR, Meter

from ..storage.errors import StorageError, StorageUnavailableError
from .audit import AuditEntry, Emit
from .metrics import FAILURES, REQUESTS
from .oauth_errors import MethodNotAllowedError, OAuthError, ServerError, TemporarilyUnavailableError, to_response
from .proxy_request import ProxyRequest, read_event
from .responses import ProxyResponse

_FRAMES = 4
_SERVER_SIDE = 500

Respond = Callable[[ProxyRequest, AuditEntry], ProxyResponse]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: turns each proxy event into a proxy response.

    `methods` are the allowed HTTP methods; empty if its routes allow only those.
    """

    name: str
    respond: Respond
    emit: Emit
    methods: tuple[str, ...] = ()
    meter: Meter = field(default_factory=Meter)

    def __call__(self, event: Mapping[str, Any]) -> ProxyResponse:
        """Respond to one event. No error is raised; its cause is logged and not sent."""
        entry = AuditEntry(self.name)
        try:
            answer = self._answer(event, entry)
        except (OAuthError, StorageError) as error:
            refusal = _of_storage(error) if isinstance(error, StorageError) else error
            answer = to_response(refusal)
            entry.note(outcome=refusal.code, reason=error.reason, cause=_cause(error))
            entry.count(*error.metrics)
        except Exception as error:  # noqa: BLE001 - no trace may reach a caller
            answer = to_response(ServerError())
            entry.note(outcome=ServerError.code, reason="unexpected", cause=_origin(error))
        entry.note(status=answer["statusCode"])
        self.emit(self._line(entry, answer["statusCode"]))
        return answer

    def _line(self, entry: AuditEntry, status: int) -> str:
        for metric in entry.counted:
            self.meter.record(metric)
        if status >= _SERVER_SIDE:
            end = self.meter.writer(REQUESTS, FAILURES, level=ERROR)
        else:
            end = self.meter.writer(REQUESTS)
        return f"{entry.to_json()[:-1]}{end()}}}"

    def _answer(self, event: Mapping[str, Any], entry: AuditEntry) -> ProxyResponse:
        request = read_event(event)
        entry.note(request_id=request.request_id, source_ip=request.source_ip, outcome="success")
        if self.methods and request.method not in self.methods:
            raise MethodNotAllowedError(self.methods)
        return self.respond(request, entry)


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
