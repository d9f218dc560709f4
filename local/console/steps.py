"""The steps that the page shows: messages between components, each with details."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from local.gateway.native_jwt import UnverifiedToken
from local.http_client import HttpRequest, HttpResponse, plain

Actor = Literal["client", "auth", "api", "authorizer"]
Tone = Literal["good", "bad", "plain"]
Detail = dict[str, Any]
"""The result of a function below; `kind` names the function that draws it on the page."""

_HIDDEN_HEADERS = frozenset({"date", "server", "content-length", "connection", "x-amz-apigw-id"})


@dataclass(frozen=True, slots=True)
class Step:
    """A message from one component to another, or an internal step of one component.

    `chip` is a very short summary, such as a status.
    """

    sender: Actor
    receiver: Actor
    title: str
    sentence: str
    chip: str = ""
    tone: Tone = "plain"
    details: tuple[Detail, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as the page expects it."""
        return {
            "from": self.sender,
            "to": self.receiver,
            "title": self.title,
            "sentence": self.sentence,
            "chip": self.chip,
            "tone": self.tone,
            "details": list(self.details),
        }


def as_json(value: object) -> str:
    """Write indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def http_exchange(request: HttpRequest, response: HttpResponse | None = None) -> Detail:
    """Return a request with its curl command, and its response."""
    answer = response and {
        "status": response.status,
        "reason": response.reason,
        "headers": {
            name.lower(): value for name, value in response.headers.items() if name.lower() not in _HIDDEN_HEADERS
        },
        "body": response.text,
        "milliseconds": response.milliseconds,
    }
    shown = {
        "method": request.method,
        "url": request.url,
        "headers": plain(request.headers),
        "form": plain(request.form or {}),
        "curl": request.as_curl(),
    }
    return {"kind": "http", "request": shown, "answer": answer}


def token(text: str) -> Detail:
    """Return a JWT with its parts; raises RejectedTokenError for other text."""
    decoded = UnverifiedToken.decode(text)
    return {"kind": "token", "text": text, "header": decoded.header, "claims": decoded.claims}


def key_set(title: str, keys: Sequence[Mapping[str, Any]], wanted: str | None = None) -> Detail:
    """Return keys, each with `kid`, `alg` and an optional `note`; `wanted` is highlighted."""
    shown = [{**key, "matched": key["kid"] == wanted} for key in keys]
    return {"kind": "keys", "title": title, "keys": shown}


def facts(*pairs: tuple[str, str]) -> Detail:
    """Return names and values."""
    return {"kind": "facts", "facts": [list(pair) for pair in pairs]}


def lines(title: str, text: str) -> Detail:
    """Return preformatted text, such as a log line or JSON."""
    return {"kind": "text", "title": title, "text": text}
