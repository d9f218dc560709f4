"""Credentials that must not be in a log: by their shape, and those that tests used."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from functions.shared.clients.client_secrets import SCANNABLE_PREFIX

SHAPES = {
    "a JWT": r"eyJ[\w-]{8,}\.[\w-]*\.",
    "a secret or token of ours": SCANNABLE_PREFIX + r"[a-z]+_[\w-]{20,}",
    "a private JWK": r'\\*"d\\*"\s*:\s*\\*"[\w-]{20,}',
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an Authorization or DPoP header": r"\b(?:Basic|Bearer|DPoP)\s+[\w+/=.~-]{16,}",
    "a form": r"\b(?:client_secret|client_assertion|(?:access|subject|actor)_token)=[^&\s\"]{4}",
}
SHORTEST = 8
"""Minimum length of a searched value. A shorter one may be a word of any line."""

_SHAPE = re.compile("|".join(f"({shape})" for shape in SHAPES.values()))
_NAMES = tuple(SHAPES)
_WORD = re.compile(rf"[\w+/=.~-]{{{SHORTEST},}}")
_HEADERS = frozenset({"authorization", "dpop"})
_PARAMETERS = frozenset({"client_secret", "client_assertion", "token", "subject_token", "actor_token"})


def shape_in(line: str) -> str | None:
    """Name the first thing in a line that looks like a credential."""
    found = _SHAPE.search(line)
    return _NAMES[found.lastindex - 1] if found and found.lastindex else None


def words(line: str) -> Iterator[str]:
    """Yield the words of a line that could be a credential as a whole."""
    return (match[0] for match in _WORD.finditer(line))


def used_in(event: object, answer: object) -> set[str]:
    """Return the credentials that a request carried, or was answered with."""
    found = {*_sent(event), *_answered(answer)} if isinstance(event, dict) else set()
    return {value for value in found if len(value) >= SHORTEST}


def _sent(event: Mapping[str, Any]) -> Iterator[str]:
    headers = [
        *_pairs(event.get("headers")),
        *_pairs(event.get("multiValueHeaders")),
        ("authorization", event.get("authorizationToken")),
    ]
    for name, value in headers:
        if isinstance(value, str) and str(name).lower() in _HEADERS:
            yield from _of_header(value)
    body = event.get("body")
    if isinstance(body, str):
        text = _decoded(body) if event.get("isBase64Encoded") else body
        yield from (value for name, value in parse_qsl(text) if name in _PARAMETERS)


def _pairs(headers: object) -> Iterator[tuple[object, object]]:
    if not isinstance(headers, dict):
        return
    for name, values in headers.items():
        for value in values if isinstance(values, list) else [values]:
            yield name, value


def _of_header(value: str) -> Iterator[str]:
    scheme, _, credentials = value.partition(" ")
    yield credentials or scheme
    if scheme.lower() == "basic":
        yield unquote_plus(_decoded(credentials).partition(":")[2])


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="replace")
    except ValueError:
        return ""


def _answered(answer: object) -> Iterable[str]:
    body = answer.get("body") if isinstance(answer, dict) else None
    try:
        members = json.loads(body) if isinstance(body, str) else None
    except ValueError:
        return ()
    token = members.get("access_token") if isinstance(members, dict) else None
    return (token,) if isinstance(token, str) else ()
