"""What goes on in the authorizer, in steps: where it gets its knowledge from, and what it decides.

A refusal is told by its reason, which the authorizer writes into its log and never says to callers.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from authorizer.method_arn import stage_arn
from local.console import tokens
from local.console.steps import Detail, Step, Tone, as_json, facts, key_set, lines
from local.console.words import in_words
from local.gateway.policy import Verdict, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.console.sightings import Record, Sightings

__all__ = ["decided", "introspected", "keys_found", "policy"]


def keys_found(seen: Sightings, line: Mapping[str, Any], token: str) -> Step:
    """Tell where the key set came from, and which of its keys the token names."""
    kid = str(tokens.decode(token)[0].get("kid"))
    keys = seen.keys() if line.get("key_set") != "none" else []
    named = any(key["kid"] == kid for key in keys)
    matching = f" Key {kid[:8]}… is {'' if named else 'not '}in it." if keys else ""
    details = [key_set("The authorizer's key set", keys, kid)] if keys else []
    fetch = seen.fetch()
    if fetch is None:
        return _at_hand(line, matching, details)
    how, chip = _FETCHES.get(
        fetch["status"], (f"The endpoint answers {fetch['status']}.", "failed")
    )
    if chip == "failed" and line.get("key_set") == "stale":
        how += " The key set at hand is past its soft age, and used while the endpoint is down."
    return Step(
        "authorizer",
        "auth",
        "GET /oauth2/jwks",
        how + matching,
        chip=f"{fetch['status']} {chip}",
        tone="bad" if chip == "failed" else "good",
        details=(*details, _fetch_facts(fetch)),
    )


_FETCHES = {
    200: ("The authorizer fetches the key set, and keeps it.", "fetched"),
    304: ("The authorizer asks whether its key set is still right. It is.", "revalidated"),
}


def introspected(exchange: Record | None) -> Step:
    """Tell how the authorizer learns what an opaque token stands for."""
    if exchange is None:
        return Step(
            "authorizer",
            "authorizer",
            "The meaning is at hand",
            "The authorizer asked about this token a moment ago and goes by that answer.",
            chip="cached",
        )
    return Step(
        "authorizer",
        "auth",
        "POST /oauth2/introspect",
        "Nobody can read an opaque token, so the authorizer asks the auth server about it.",
        chip=str(exchange["status"]),
        tone="good" if exchange["status"] == HTTPStatus.OK else "bad",
        details=(lines("What it is told", _indented(exchange["body"])),),
    )


def decided(
    asked: Record, line: Mapping[str, Any], scope_map: Mapping[str, Sequence[str]], route: str
) -> Step:
    """Tell what the authorizer answers to API Gateway."""
    log = lines("The authorizer's log line", as_json(line))
    reason = str(line.get("reason") or "unexpected")
    if asked["error"] == "Unauthorized":
        sentence = f"{in_words(reason)} The caller is told nothing but 401."
        return _verdict("Unauthorized", sentence, reason, "bad", log)
    if asked["error"]:
        sentence = (
            f"{in_words(reason)} So there is no answer: a Deny might be wrong, and API Gateway "
            "would keep it."
        )
        return _verdict("No answer", sentence, reason, "bad", log)
    shown = policy(asked, scope_map, route)
    took = f"It took {asked['milliseconds']:.1f} ms."
    if not _opened(asked["result"], scope_map):
        sentence = f"The token is good, but its scopes open nothing: all is denied. {took}"
        return _verdict("A policy that opens nothing", sentence, "policy", "bad", shown, log)
    sentence = (
        "The token is good. The policy names every route that its scopes open, so API Gateway may "
        f"keep it for the token. {took}"
    )
    return _verdict("A policy", sentence, "policy", "good", shown, log)


def policy(asked: Record, scope_map: Mapping[str, Sequence[str]], route: str) -> Detail:
    """Show scopes, the routes that they open, and which resources name this request."""
    result = asked["result"]
    stage = stage_arn(asked["event"]["methodArn"])
    method, _, path = route.partition("?")[0].partition(" ")
    wanted = f"{stage}/{method}{path}"
    return {
        "kind": "policy",
        "scopes": [
            {"scope": scope, "routes": list(routes)}
            for scope, routes in (
                _opened(result, scope_map) or dict.fromkeys(_scopes(result), ())
            ).items()
        ],
        "resources": [
            {
                "effect": statement["Effect"],
                "resource": resource.removeprefix(f"{stage}/"),
                "matched": _names(resource, wanted),
            }
            for statement in result["policyDocument"]["Statement"]
            for resource in statement["Resource"]
        ],
        "document": as_json(result),
    }


def _at_hand(line: Mapping[str, Any], matching: str, details: list[Detail]) -> Step:
    if line.get("key_set") == "none":
        return Step(
            "authorizer",
            "authorizer",
            "No key set",
            "There is none at hand. The last fetch has just failed, so the authorizer leaves the "
            "endpoint alone for a moment.",
            chip="back-off",
            tone="bad",
        )
    return Step(
        "authorizer",
        "authorizer",
        "The key set is at hand",
        f"It is {line.get('key_set')}, {line.get('key_set_age')} s old, and nothing is fetched."
        + matching,
        chip="cached",
        details=tuple(details),
    )


def _fetch_facts(fetch: Record) -> Detail:
    return facts(
        ("the question", f"GET {fetch['path']}"),
        ("If-None-Match", _header(fetch["request_headers"], "if-none-match")),
        ("the answer", str(fetch["status"])),
        ("Cache-Control", _header(fetch["response_headers"], "cache-control")),
    )


def _verdict(title: str, sentence: str, chip: str, tone: Tone, *details: Detail) -> Step:
    return Step("authorizer", "api", title, sentence, chip, tone, details)


def _names(resource: str, wanted: str) -> bool:
    """Whether a policy's resource names a request, as the gateway reads it."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": resource}
    judged = parse({"Statement": [statement]}).evaluate("execute-api:Invoke", wanted, {})
    return judged is Verdict.ALLOWED


def _opened(
    result: Mapping[str, Any], scope_map: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Return the entries of the scope map that the token's scopes fulfil, and that open routes.

    An entry may ask for several scopes at once.
    """
    scopes = set(_scopes(result))
    return {
        entry: routes
        for entry, routes in scope_map.items()
        if routes and scopes.issuperset(entry.split())
    }


def _scopes(result: Mapping[str, Any]) -> list[str]:
    return str(result["context"].get("scope", "")).split()


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "none")


def _indented(body: str) -> str:
    try:
        return as_json(json.loads(body))
    except ValueError:
        return body
