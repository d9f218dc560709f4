"""Recorded authorizer events, one for each kind that API Gateway sends."""

import json
from pathlib import Path
from time import monotonic
from typing import Any

from authorizer.authorizer import LambdaAuthorizer
from authorizer.clock import Clock, Deadline
from authorizer.event import AuthorizerEvent

_EVENTS = Path(__file__).resolve().parents[1] / "unit" / "authorizer" / "events"
KINDS = tuple(sorted(path.stem for path in _EVENTS.glob("*.json")))
HOSTS = {
    "rest_request": "abcdef1234.execute-api.eu-west-1.amazonaws.com",
    "http_1": "hijklm5678.execute-api.eu-west-1.amazonaws.com",
    "http_2": "hijklm5678.execute-api.eu-west-1.amazonaws.com",
}


def decide(
    authorizer: LambdaAuthorizer, event: dict[str, Any], seconds: float = 1, monotonic: Clock = monotonic
) -> dict[str, Any]:
    """Return the authorizer's response to an event."""
    return authorizer.decide(AuthorizerEvent(event), Deadline(seconds, monotonic))


def recorded(kind: str, token: str = "", scheme: str = "Bearer") -> dict[str, Any]:
    """Return the event of this kind, with a token in it."""
    text = (_EVENTS / f"{kind}.json").read_text(encoding="utf-8")
    event: dict[str, Any] = json.loads(text.replace("Bearer TOKEN", f"{scheme} {token or 'a-token'}"))
    return event


def with_header(event: dict[str, Any], name: str, *values: str) -> dict[str, Any]:
    """Return the event with a header more, sent once for each value."""
    changed: dict[str, Any] = json.loads(json.dumps(event))
    if "multiValueHeaders" in changed:
        changed["headers"][name] = values[-1]
        changed["multiValueHeaders"][name] = list(values)
    else:
        changed["headers"][name.lower()] = ",".join(values)
    return changed


def with_certificate(event: dict[str, Any], pem: str) -> dict[str, Any]:
    """Return the event as mutual TLS makes it."""
    changed: dict[str, Any] = json.loads(json.dumps(event))
    context = changed["requestContext"]
    place = "authentication" if changed.get("version") == "2.0" else "identity"
    context.setdefault(place, {})["clientCert"] = {
        "clientCertPem": pem,
        "subjectDN": "CN=client",
        "issuerDN": "CN=authority",
        "serialNumber": "1",
        "validity": {"notBefore": "May 28 12:30:02 2019 GMT", "notAfter": "Aug  5 09:36:04 2021 GMT"},
    }
    return changed
