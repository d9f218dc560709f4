"""A token request and an API call, each explained as steps."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authorizer.errors import Reason
from authorizer.event import AuthorizerEvent
from functions.shared.clients.client import Client
from infra.explain import Stage, reason_text, stage_of
from local.console.clients import ClientRequests, is_jwt, kind_of
from local.console.control_socket import ControlClient, Record, credential_hash, header, is_key_set_fetch
from local.console.steps import Detail, Step, Tone, as_json, facts, http_exchange, key_set, lines
from local.console.steps import token as token_detail
from local.gateway.native_jwt import UnverifiedToken
from local.gateway.policy_evaluator import Verdict, parse
from local.http_client import HttpRequest, HttpResponse, send

_KINDS = {
    "jwt": "It is signed. Every API that has the key set can verify it.",
    "at+jwt": "It is signed. It names its API (aud), and an id for its revocation (jti).",
    "opaque": "It contains no data. An API introspects it at the auth server.",
    "mtls": "It is bound to the client's certificate (cnf). The connection must have it.",
    "dpop": "It is bound to the client's key (cnf). Each request needs a proof of that key.",
}
_FETCHES = {
    200: ("The authorizer fetches the key set and caches it.", "fetched"),
    304: ("The authorizer revalidates its cached key set, which has not changed.", "revalidated"),
}
_RESULTS: Mapping[int, str] = {
    401: "The authorizer rejects the token. The caller gets no reason, and nothing is cached.",
    403: "The token is valid, but its scopes do not open this route. The function is not called.",
    500: "The authorizer could not decide, so the caller gets 500 and may retry.",
}
_VALID_ELSEWHERE = (
    "The authorizer rejects the request, but not because the token is invalid: {why} The caller gets no reason, and "
    "nothing is cached."
)
_REJECTED_HERE = frozenset(
    {
        Reason.SCHEME_WRONG,
        Reason.ISS_UNKNOWN,
        Reason.AUD_OTHER,
        Reason.CLIENT_ID_NOT_ALLOWED,
        Reason.LIFETIME_TOO_LONG,
        Reason.TYP_NOT_ALLOWED,
        Reason.OPAQUE_NOT_ACCEPTED,
        Reason.CNF_UNKNOWN,
    }
)
"""Reasons to reject a valid token: another API, or another request, may accept it."""


@dataclass
class TokenTrace:
    """A token request of one client. `token` and `scheme` are set when it succeeds."""

    requests: ClientRequests
    client: Client
    scopes: Sequence[str]
    token: str | None = None
    scheme: str = "Bearer"

    def run(self) -> Iterator[Step]:
        """Request a token, and yield the steps."""
        request = self.requests.token(self.client, self.scopes)
        response = send(request)
        nonce = response.headers.get("dpop-nonce")
        if response.status != 200 and nonce:
            yield _requested(request, response, "The proof has no nonce. The auth server returns one.")
            request = self.requests.token(self.client, self.scopes, nonce)
            response = send(request)
        if response.status != 200:
            error = as_object(response.text)
            description = error.get("error_description", "There is no description.")
            sentence = f"{error.get('error', response.reason)}: {description}"
            details = (http_exchange(request, response),)
            yield Step("auth", "client", "No token", sentence, str(response.status), "bad", details)
            return
        scopes = ", ".join(self.scopes) or "its default scopes"
        yield _requested(request, response, f"{self.client.client_id} authenticates and requests {scopes}.")
        yield self._received(response.json)

    def _received(self, members: dict[str, Any]) -> Step:
        text = str(members["access_token"])
        self.token, self.scheme = text, str(members["token_type"])
        known = facts(
            ("scope", str(members.get("scope", "none"))),
            ("token_type", self.scheme),
            ("expires_in", f"{members['expires_in']} seconds"),
        )
        shown = token_detail(text) if is_jwt(text) else facts(("access_token", text))
        kind = kind_of(self.client)
        title = "A signed token (JWT)" if is_jwt(text) else "An opaque token"
        return Step("auth", "client", title, _KINDS[kind], kind, details=(shown, known))


def _requested(request: HttpRequest, response: HttpResponse, sentence: str) -> Step:
    tone: Tone = "good" if response.status == 200 else "plain"
    details = (http_exchange(request, response),)
    return Step("client", "auth", "POST /oauth2/token", sentence, str(response.status), tone, details)


@dataclass(frozen=True, slots=True)
class CallTrace:
    """The records of one call. `auth_since` has the auth server's since the call began."""

    api: Mapping[str, Any]
    auth: Mapping[str, Any]
    auth_since: Mapping[str, Any]
    request_id: str
    authorization: str

    def call_of(self, *, authorizer: bool) -> Record | None:
        """Return the invocation of the authorizer, or of the function behind it, for this request.

        There is none of the authorizer if the policy was cached.
        """
        calls = self._invocations(of_authorizer=authorizer)
        return _last(each for each in calls if each["request_id"] == self.request_id)

    def cached_call(self) -> Record | None:
        """Return the last invocation that returned a policy for this token."""
        wanted = credential_hash(self.authorization)
        calls = self._invocations(of_authorizer=True)
        return _last(each for each in calls if each["credential"] == wanted and each["result"] is not None)

    def key_set_fetch(self) -> Record | None:
        """Return the exchange in which the authorizer fetched the key set during the call."""
        return _last(filter(is_key_set_fetch, self.auth_since["exchanges"]))

    def introspection(self) -> Record | None:
        """Return the exchange in which the authorizer introspected an opaque token."""
        return _last(each for each in self.auth_since["exchanges"] if each["path"].endswith("/oauth2/introspect"))

    def keys(self) -> list[dict[str, str]]:
        """Return the key set that the authorizer fetched last."""
        found = _last(each for each in self.auth["exchanges"] if is_key_set_fetch(each) and each["status"] == 200)
        keys: list[dict[str, str]] = json.loads(found["body"])["keys"] if found else []
        return keys

    def _invocations(self, *, of_authorizer: bool) -> Iterator[Record]:
        return (each for each in self.api["invocations"] if (each["event"] is not None) is of_authorizer)


@dataclass(frozen=True, slots=True)
class ApiCalls:
    """Calls to the guarded API. `folder` has the control sockets, `scope_map` is parsed JSON."""

    requests: ClientRequests
    folder: str
    scope_map: Mapping[str, Sequence[str]]

    def run(self, path: str, token: str, scheme: str) -> Iterator[Step]:
        """Make a call, and yield the steps."""
        auth_server = ControlClient(self.folder, "auth_server")
        since = auth_server.records()["last"]
        request = self.requests.guarded(path, token, scheme)
        response = send(request)
        trace = CallTrace(
            api=ControlClient(self.folder, self.requests.service(token, scheme)).records(),
            auth=auth_server.records(),
            auth_since=auth_server.records(since),
            request_id=response.headers.get("x-amzn-requestid", ""),
            authorization=f"{scheme} {token}",
        )
        route = f"GET {path}"
        sentence = "The client sends the token. API Gateway needs a policy before it calls the function."
        yield Step("client", "api", route, sentence, details=(http_exchange(request),))
        reason = ""
        if called := trace.call_of(authorizer=True):
            reason = str(decision_line(called).get("reason"))
            yield from self._authorized(called, trace, token, route)
        elif cached := trace.cached_call():
            sentence = (
                "API Gateway uses the policy that the authorizer returned for this token "
                f"{time.time() - cached['at']:.0f} seconds ago. The authorizer is not called."
            )
            shown = policy(cached, self.scope_map, route)
            yield Step("api", "api", "The policy is cached", sentence, "cached", details=(shown,))
        yield _result(request, response, trace.call_of(authorizer=False), route, reason)

    def _authorized(self, called: Record, trace: CallTrace, token: str, route: str) -> Iterator[Step]:
        sentence = "API Gateway has no cached policy for this token, so it calls the authorizer."
        event = lines("The event", as_json(called["event"]))
        yield Step("api", "authorizer", "Authorize the request", sentence, "called", details=(event,))
        line = decision_line(called)
        if not is_jwt(token):
            yield _introspection(trace.introspection())
        elif line.get("reason") != Reason.SCHEME_WRONG:
            yield key_lookup(trace, line, token)
        yield decision(called, line, self.scope_map, route)


def key_lookup(trace: CallTrace, line: Mapping[str, Any], token: str) -> Step:
    """Explain where the key set came from, and whether it has the token's key."""
    kid = str(UnverifiedToken.decode(token).header.get("kid"))
    source = line.get("key_set")
    keys = trace.keys() if source != "none" else []
    is_found = any(key["kid"] == kid for key in keys)
    found = f" Key {kid[:8]}… is {'' if is_found else 'not '}in it." if keys else ""
    details = (key_set("The authorizer's key set", keys, kid),) if keys else ()
    fetch = trace.key_set_fetch()
    if fetch is None and source == "none":
        sentence = (
            "No key set is cached. The last fetch has just failed, so the authorizer waits before it tries again."
        )
        return Step("authorizer", "authorizer", "No key set", sentence, "back-off", "bad")
    if fetch is None:
        sentence = f"It is {source}, {line.get('key_set_age')} s old, and not fetched.{found}"
        return Step("authorizer", "authorizer", "The key set is cached", sentence, "cached", details=details)
    status = fetch["status"]
    sentence, chip = _FETCHES.get(status, (f"The endpoint answers {status}.", "failed"))
    if chip == "failed" and source == "stale":
        sentence += " The cached key set is stale, and used while the endpoint is down."
    fetched = facts(
        ("request", f"GET {fetch['path']}"),
        ("If-None-Match", header(fetch["request_headers"], "if-none-match")),
        ("status", str(status)),
        ("Cache-Control", header(fetch["response_headers"], "cache-control")),
    )
    tone: Tone = "bad" if chip == "failed" else "good"
    details = (*details, fetched)
    return Step("authorizer", "auth", "GET /oauth2/jwks", sentence + found, f"{status} {chip}", tone, details)


def _introspection(exchange: Record | None) -> Step:
    if exchange is None:
        title = "The introspection response is cached"
        sentence = "The authorizer introspected this token a moment ago, and uses that response."
        return Step("authorizer", "authorizer", title, sentence, "cached")
    body = as_object(exchange["body"])
    sentence = "An opaque token contains no data, so the authorizer introspects it at the auth server."
    tone: Tone = "good" if exchange["status"] == 200 else "bad"
    shown = lines("The response", as_json(body) if body else exchange["body"])
    return Step("authorizer", "auth", "POST /oauth2/introspect", sentence, str(exchange["status"]), tone, (shown,))


def decision(called: Record, line: Mapping[str, Any], scope_map: Mapping[str, Sequence[str]], route: str) -> Step:
    """Explain the authorizer's decision by its reason, which only its log contains."""

    def step(title: str, sentence: str, chip: str, tone: Tone, *details: Detail) -> Step:
        log = lines("The authorizer's log line", as_json(line))
        return Step("authorizer", "api", title, sentence, chip, tone, (*details, log))

    reason = str(line.get("reason") or "unexpected")
    why = explained(reason)
    if called["error"] == "Unauthorized":
        return step("Unauthorized", f"{why} The caller gets 401 and no reason.", reason, "bad")
    if called["error"]:
        sentence = f"{why} There is no policy, because API Gateway would cache a wrong Deny."
        return step("No decision", sentence, reason, "bad")
    shown = policy(called, scope_map, route)
    took = f"The decision took {called['milliseconds']:.1f} ms."
    if not _opened(called["result"], scope_map):
        sentence = f"The token is valid, but its scopes open no route: all are denied. {took}"
        return step("A policy that denies all", sentence, "policy", "bad", shown)
    sentence = "The token is valid. The policy names every route that its scopes open, so API Gateway can cache it "
    return step("A policy", f"{sentence}for the token. {took}", "policy", "good", shown)


def policy(called: Record, scope_map: Mapping[str, Sequence[str]], route: str) -> Detail:
    """Return scopes with their routes, and the policy's resources; those of `route` match."""
    result = called["result"]
    stage = AuthorizerEvent(called["event"]).stage_arn()
    method, _, path = route.partition("?")[0].partition(" ")
    wanted = f"{stage}/{method}{path}"
    opened = _opened(result, scope_map) or dict.fromkeys(_scopes(result), ())
    return {
        "kind": "policy",
        "scopes": [{"scope": scope, "routes": list(routes)} for scope, routes in opened.items()],
        "resources": [
            {
                "effect": statement["Effect"],
                "resource": resource.removeprefix(f"{stage}/"),
                "matched": _matches(resource, wanted),
            }
            for statement in result["policyDocument"]["Statement"]
            for resource in statement["Resource"]
        ],
        "document": as_json(result),
    }


def explained(reason: str) -> str:
    """Return the explanation of a reason; an unknown reason is named."""
    try:
        return reason_text(Reason(reason))
    except ValueError:
        return f"The authorizer's reason is {reason}."


def _result(request: HttpRequest, response: HttpResponse, called: Record | None, route: str, reason: str) -> Step:
    status = response.status
    sentence = _RESULTS.get(status, "API Gateway answers without the function.")
    known = Reason(reason) if reason in set(Reason) else None
    if status == 401 and known and (known in _REJECTED_HERE or stage_of(known) is Stage.POSSESSION):
        sentence = _VALID_ELSEWHERE.format(why=reason_text(known))
    if called:
        took = f"{called['milliseconds']:.1f} ms"
        sentence = f"The policy allows {route}, so {called['function']} is called ({took})."
        if status == 404:
            sentence += " It does not know this country."
    duration = facts(("duration of the call", f"{response.milliseconds:.1f} ms"))
    details = (http_exchange(request, response), duration)
    tone: Tone = "good" if status < 400 else "bad"
    return Step("api", "client", f"{status} {response.reason}", sentence, str(status), tone, details)


def _matches(resource: str, wanted: str) -> bool:
    """Return whether a policy's resource matches a request, as API Gateway evaluates it."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": resource}
    verdict = parse({"Statement": [statement]}).evaluate("execute-api:Invoke", wanted, {})
    return verdict is Verdict.ALLOWED


def _opened(result: Mapping[str, Any], scope_map: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the entries of the scope map that the token's scopes satisfy and that open routes."""
    scopes = set(_scopes(result))
    return {entry: routes for entry, routes in scope_map.items() if routes and scopes.issuperset(entry.split())}


def _scopes(result: Mapping[str, Any]) -> list[str]:
    return str(result["context"].get("scope", "")).split()


def decision_line(invocation: Record) -> dict[str, Any]:
    """Return the authorizer's log line about its decision, empty without one."""
    members = map(as_object, reversed(invocation["lines"]))
    return next((each for each in members if "decision" in each), {})


def as_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; empty if the text is not one."""
    try:
        members = json.loads(text)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _last(records: Iterable[Record]) -> Record | None:
    return next(iter(reversed(list(records))), None)
