"""What the page shows: steps, each a message between two of the four, with details."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.console.http_calls import Answer, Call

__all__ = [
    "Actor",
    "Detail",
    "Step",
    "Tone",
    "as_json",
    "facts",
    "http_exchange",
    "key_set",
    "lines",
    "token",
]

Actor = Literal["client", "auth", "api", "authorizer"]
Tone = Literal["good", "bad", "plain"]
Detail = dict[str, Any]
"""One of the kinds that the functions below make; `kind` says which."""


@dataclass(frozen=True)
class Step:
    """A message from one to another, or a thought that one has alone.

    `chip` is its shortest summary, such as a status.
    """

    sender: Actor
    receiver: Actor
    title: str
    sentence: str
    chip: str = ""
    tone: Tone = "plain"
    details: tuple[Detail, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as the page reads it."""
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
    """Write JSON for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def http_exchange(call: Call, answer: Answer | None = None) -> Detail:
    """Return a request as it was sent and, if it is to be shown, its answer."""
    shown = answer.to_json() if answer else None
    return {"kind": "http", "request": call.to_json(), "answer": shown}


def token(text: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Detail:
    """Return a token taken apart."""
    return {"kind": "token", "text": text, "header": header, "claims": claims}


def key_set(title: str, keys: Sequence[Mapping[str, Any]], wanted: str | None = None) -> Detail:
    """Return keys, each with `kid`, `alg` and perhaps a `note`; the wanted one stands out."""
    shown = [{**key, "matched": key["kid"] == wanted} for key in keys]
    return {"kind": "keys", "title": title, "keys": shown}


def facts(*pairs: tuple[str, str]) -> Detail:
    """Return names and values."""
    return {"kind": "facts", "facts": [list(pair) for pair in pairs]}


def lines(title: str, text: str) -> Detail:
    """Return text that is shown as it is, such as a log line or JSON."""
    return {"kind": "text", "title": title, "text": text}
