"""The walkthrough: each request of the story and its answer, shown, and checked when asked."""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SCOPES = "country.read customer.read customer.write"
FOUR_HOURS = 14400
SHORTEN_OVER = 60
# Headers that say nothing about the story.
DULL_HEADERS = {"date", "server", "content-length", "connection"}


@dataclass(frozen=True)
class Check:
    """One thing that the walkthrough states about an answer: `text` in words, then the values."""

    text: str
    expected: object
    got: object

    @property
    def holds(self) -> bool:
        """Whether the answer is as expected."""
        return self.expected == self.got

    def failure(self) -> str:
        """Return what was expected and what came."""
        return f"{self.text}: expected {_brief(self.expected)}, got {_brief(self.got)}"


@dataclass(frozen=True)
class Request:
    """One HTTP request; a `form` makes it a POST of application/x-www-form-urlencoded.

    `user` is a name and a password for HTTP Basic authentication, with a colon between them.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    user: str | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        """GET, or POST when there is a form."""
        return "GET" if self.form is None else "POST"

    def as_curl(self) -> list[str]:
        """Return the curl command that sends this request, one argument group a line."""
        lines = [f"curl -i --request {self.method} {shlex.quote(self.url)}"]
        if self.user is not None:
            lines.append(f"--user {shlex.quote(self.user)}")
        lines += [f"--header {_quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        fields = self.form or {}
        lines += [f"--data-urlencode {_quote(f'{name}={value}')}" for name, value in fields.items()]
        return lines


@dataclass(frozen=True)
class Answer:
    """An HTTP response whose body is JSON."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: Any


def send(request: Request) -> Answer:
    """Send one request over a connection of its own."""
    address = urlsplit(request.url)
    secure = address.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(address.hostname or "", address.port, timeout=30)
    headers = dict(request.headers)
    body = None
    if request.user is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(request.user.encode()).decode()}"
    if request.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(request.form)
    try:
        connection.request(request.method, address.path, body, headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    return Answer(response.status, response.reason, response.headers, json.loads(content))


class Places(Protocol):
    """Where the two services are."""

    @property
    def issuer(self) -> str:
        """The authorization server's address."""

    @property
    def guarded_api(self) -> str:
        """The guarded API's address, empty where there is none."""


@dataclass(frozen=True)
class Actors:
    """The two clients of the story: one gets JWTs, the other opaque tokens."""

    jwt_client: str = "service-client-jwt"
    opaque_client: str = "service-client-opaque"
    secrets: Mapping[str, str] = field(
        default_factory=lambda: {
            name: f"{name}-secret" for name in ("service-client-jwt", "service-client-opaque")
        },
        repr=False,
    )


class Walkthrough:
    """The story of the README, on a laptop or on a deployed stack."""

    def __init__(
        self,
        addresses: Places,
        *,
        actors: Actors | None = None,
        write: Callable[[str], None] = print,
    ) -> None:
        self._actors = actors or Actors()
        self._token_url = f"{addresses.issuer}/oauth2/token"
        self._jwks_url = f"{addresses.issuer}/oauth2/jwks"
        self._introspect_url = f"{addresses.issuer}/oauth2/introspect"
        self._has_api = bool(addresses.guarded_api)
        self._country_url = f"{addresses.guarded_api}/country/code/AUS"
        self._issuer = addresses.issuer
        self._write = write
        self._token = ""
        self.failures: list[str] = []

    def run(self) -> None:
        """Show every step; `failures` then has what was not as expected.

        Without a guarded API these are the steps at the authorization server alone.
        """
        steps = [(title, step) for at_api, title, step in self._steps() if self._has_api >= at_api]
        for number, (title, step) in enumerate(steps, start=1):
            self._write(f"\n{number}. {title}")
            for check in _until_broken(step()):
                if check.holds:
                    self._write(f"   ✓ {check.text}")
                else:
                    self._write(f"   ✗ FAILED {check.failure()}")
                    self.failures.append(f"step {number}: {check.failure()}")

    def _steps(self) -> Iterator[tuple[bool, str, Callable[[], Iterator[Check]]]]:
        """Yield whether a step needs the guarded API, its title, and what it does."""
        yield True, "Without a token the guarded API refuses", self._refuse_without_token
        yield False, "A client gets a token with its credentials (RFC 6749, 4.4)", self._get_jwt
        yield True, "The token opens the guarded API", self._use_jwt
        yield False, "The key set with which the authorizer checks it", self._read_key_set
        yield True, "A token without the scope is not enough", self._use_wrong_scope
        yield True, "A forged token is nothing at all", self._use_forged
        yield False, "A second client gets an opaque token", self._get_opaque
        yield False, "Introspection says what it stands for (RFC 7662)", self._introspect
        yield True, "The opaque token opens the same door", self._use_opaque

    def _refuse_without_token(self) -> Iterator[Check]:
        answer = self._show(Request(self._country_url))
        yield _status(401, answer)
        yield _header("WWW-Authenticate", "Bearer", answer)

    def _get_jwt(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.jwt_client, SCOPES))
        yield _status(200, answer)
        yield from self._check_token_answer(answer)
        header, claims = (_decode(part) for part in self._token.split(".")[:2])
        self._write(f"   header {json.dumps(header)}")
        self._write(f"   claims {json.dumps(claims)}")
        yield Check("header: kid and alg RS256", ["alg", "kid"], sorted(header))
        yield Check("alg is RS256", "RS256", header["alg"])
        members = "sub, aud, nbf, scope, iss, exp, iat, jti"
        yield Check(f"claims: {members}", sorted(members.split(", ")), sorted(claims))
        client = self._actors.jwt_client
        yield Check("sub and aud are the client", [client] * 2, [claims["sub"], claims["aud"]])
        yield _scopes("scope is the list asked for", claims["scope"])
        yield Check(f"iss is {self._issuer}", self._issuer, claims["iss"])
        yield Check("it lives four hours", FOUR_HOURS, claims["exp"] - claims["iat"])
        yield Check(
            "it is valid at once", "now", "now" if claims["nbf"] <= time.time() else "later"
        )

    def _use_jwt(self) -> Iterator[Check]:
        yield from self._check_country(self._show(self._country_request()))

    def _read_key_set(self) -> Iterator[Check]:
        answer = self._show(Request(self._jwks_url))
        yield _status(200, answer)
        keys = {key["kid"]: key for key in answer.body["keys"]}
        kid = _decode(self._token.split(".")[0])["kid"]
        yield Check("the token's kid is in it", kid, kid if kid in keys else sorted(keys))
        expected = ["alg", "e", "kid", "kty", "n", "use"]
        members = sorted(keys.get(kid, {}))
        yield Check("kty, e, kid, n (and use, alg), nothing private", expected, members)

    def _use_wrong_scope(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.jwt_client, "customer.read"))
        if answer.status != http.client.OK:
            yield _status(200, answer)
        self._token = answer.body["access_token"]
        answer = self._show(self._country_request())
        yield _status(403, answer)
        yield _header("WWW-Authenticate", 'Bearer error="insufficient_scope"', answer)

    def _use_forged(self) -> Iterator[Check]:
        header, claims, signature = self._token.split(".")
        self._token = f"{header}.{claims}.{signature[::-1]}"
        self._write("   TOKEN is now that token with its signature turned round.")
        answer = self._show(self._country_request())
        yield _status(401, answer)
        yield _header("WWW-Authenticate", "Bearer", answer)

    def _get_opaque(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.opaque_client, SCOPES))
        yield _status(200, answer)
        yield from self._check_token_answer(answer)
        dots = self._token.count(".")
        yield Check("it is opaque: no dots, nothing to decode", "0 dots", f"{dots} dots")

    def _introspect(self) -> Iterator[Check]:
        client_id = self._actors.opaque_client
        user = f"{client_id}:{self._actors.secrets[client_id]}"
        request = Request(self._introspect_url, form={"token": self._token}, user=user)
        answer = self._show(request)
        yield _status(200, answer)
        yield Check("active", {"active": True}, {"active": answer.body["active"]})
        yield Check("client_id", client_id, answer.body.get("client_id"))
        yield _scopes("scope", answer.body.get("scope", "").split())

    def _use_opaque(self) -> Iterator[Check]:
        yield from self._check_country(self._show(self._country_request()))

    def _check_token_answer(self, answer: Answer) -> Iterator[Check]:
        self._token = answer.body["access_token"]
        members = "access_token, scope, token_type, expires_in"
        yield Check(members, sorted(members.split(", ")), sorted(answer.body))
        yield Check("token_type is Bearer", "Bearer", answer.body["token_type"])
        yield Check("expires_in is 14399", FOUR_HOURS - 1, answer.body["expires_in"])
        yield _scopes("scope is what was asked for", answer.body["scope"].split())
        yield _header("Cache-Control", "no-store", answer)

    def _check_country(self, answer: Answer) -> Iterator[Check]:
        yield _status(200, answer)
        australia = {"code": "AUS", "name": "AUSTRALIA"}
        yield Check(json.dumps(australia), australia, answer.body)

    def _token_request(self, client_id: str, scope: str) -> Request:
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": self._actors.secrets[client_id],
            "scope": scope,
        }
        return Request(self._token_url, form=form)

    def _country_request(self) -> Request:
        return Request(self._country_url, {"Authorization": f"Bearer {self._token}"})

    def _show(self, request: Request) -> Answer:
        """Send a request; write it as a curl command, and its answer with long values cut."""
        command = " \\\n        ".join(request.as_curl())
        if self._token:
            command = command.replace(self._token, "$TOKEN")
        self._write(f"   $ {command}")
        answer = send(request)
        self._write(f"   HTTP/1.1 {answer.status} {answer.reason}")
        for name, value in answer.headers.items():
            if name.lower() not in DULL_HEADERS:
                self._write(f"   {name}: {value}")
        body = json.dumps(_shorten(answer.body), indent=2, ensure_ascii=False)
        self._write("   " + body.replace("\n", "\n   "))
        return answer


def _until_broken(checks: Iterator[Check]) -> Iterator[Check]:
    """Pass checks on until one fails: what follows it would fail for the same reason.

    An answer that cannot be read, and no answer at all, are one more check, which fails.
    """
    try:
        for check in checks:
            yield check
            if not check.holds and check.text.isdecimal():
                return
    except (KeyError, TypeError, ValueError, OSError, http.client.HTTPException) as error:
        yield Check("the answer", "the form above", f"{type(error).__name__}: {error}")


def _status(expected: int, answer: Answer) -> Check:
    """Compare statuses; an error of OAuth or of API Gateway belongs to what came."""
    if answer.status == expected:
        return Check(str(expected), expected, expected)
    members = answer.body if isinstance(answer.body, dict) else {}
    error = members.get("error") or members.get("message") or answer.reason
    return Check(str(expected), expected, f"{answer.status} {error}")


def _header(name: str, expected: str, answer: Answer) -> Check:
    return Check(f"{name}: {expected}", expected, answer.headers[name])


def _scopes(text: str, got: list[str]) -> Check:
    return Check(text, sorted(SCOPES.split()), sorted(got))


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(_shorten(value))


def _quote(text: str) -> str:
    """Quote for bash so that $TOKEN is still expanded."""
    return f'"{text}"' if text.startswith("Authorization: Bearer") else shlex.quote(text)


def _decode(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def _shorten(value: Any) -> Any:
    """Cut long strings in the middle of nowhere: the whole of them is noise on a terminal."""
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > SHORTEN_OVER:
        return f"{value[:24]}…({len(value)} characters)"
    return value
