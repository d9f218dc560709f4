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

Check = tuple[str, bool]


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
        """Show every step; what did not come out as told is in `failures` afterwards.

        Without a guarded API these are the steps at the authorization server alone.
        """
        steps = [(title, step) for at_api, title, step in self._steps() if self._has_api >= at_api]
        for number, (title, step) in enumerate(steps, start=1):
            self._write(f"\n{number}. {title}")
            for text, holds in _until_broken(step()):
                self._write(f"   {'✓' if holds else '✗ NOT SO:'} {text}")
                if not holds:
                    self.failures.append(f"step {number}: {text}")

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
        yield "401", answer.status == http.client.UNAUTHORIZED
        yield "WWW-Authenticate: Bearer", answer.headers["WWW-Authenticate"] == "Bearer"

    def _get_jwt(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.jwt_client, SCOPES))
        yield "200", answer.status == http.client.OK
        yield from self._check_token_answer(answer)
        header, claims = (_decode(part) for part in self._token.split(".")[:2])
        self._write(f"   header {json.dumps(header)}")
        self._write(f"   claims {json.dumps(claims)}")
        yield "header: kid and alg RS256", sorted(header) == ["alg", "kid"]
        yield "alg is RS256", header["alg"] == "RS256"
        yield "claims: sub, aud, nbf, scope, iss, exp, iat, jti", set(claims) == {
            "sub", "aud", "nbf", "scope", "iss", "exp", "iat", "jti",
        }  # fmt: skip
        yield (
            "sub and aud are the client",
            claims["sub"] == claims["aud"] == self._actors.jwt_client,
        )
        yield "scope is the list asked for", sorted(claims["scope"]) == sorted(SCOPES.split())
        yield f"iss is {self._issuer}", claims["iss"] == self._issuer
        yield "it lives four hours", claims["exp"] - claims["iat"] == FOUR_HOURS
        yield "it is valid at once", claims["nbf"] <= time.time()

    def _use_jwt(self) -> Iterator[Check]:
        yield from self._check_country(self._show(self._country_request()))

    def _read_key_set(self) -> Iterator[Check]:
        answer = self._show(Request(self._jwks_url))
        yield "200", answer.status == http.client.OK
        keys = {key["kid"]: key for key in answer.body["keys"]}
        kid = _decode(self._token.split(".")[0])["kid"]
        yield "the token's kid is in it", kid in keys
        members = set(keys.get(kid, {}))
        yield "kty, e, kid, n (and use, alg), nothing private", members == {
            "kty", "e", "kid", "n", "use", "alg",
        }  # fmt: skip

    def _use_wrong_scope(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.jwt_client, "customer.read"))
        self._token = answer.body["access_token"]
        answer = self._show(self._country_request())
        yield "403", answer.status == http.client.FORBIDDEN
        challenge = 'Bearer error="insufficient_scope"'
        yield f"WWW-Authenticate: {challenge}", answer.headers["WWW-Authenticate"] == challenge

    def _use_forged(self) -> Iterator[Check]:
        header, claims, signature = self._token.split(".")
        self._token = f"{header}.{claims}.{signature[::-1]}"
        self._write("   TOKEN is now that token with its signature turned round.")
        answer = self._show(self._country_request())
        yield "401", answer.status == http.client.UNAUTHORIZED
        yield "WWW-Authenticate: Bearer", answer.headers["WWW-Authenticate"] == "Bearer"

    def _get_opaque(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._actors.opaque_client, SCOPES))
        yield "200", answer.status == http.client.OK
        yield from self._check_token_answer(answer)
        yield "it is opaque: no dots, nothing to decode", "." not in self._token

    def _introspect(self) -> Iterator[Check]:
        client_id = self._actors.opaque_client
        user = f"{client_id}:{self._actors.secrets[client_id]}"
        request = Request(self._introspect_url, form={"token": self._token}, user=user)
        answer = self._show(request)
        yield "200", answer.status == http.client.OK
        yield "active", answer.body["active"] is True
        yield "client_id", answer.body.get("client_id") == client_id
        yield "scope", sorted(answer.body.get("scope", "").split()) == sorted(SCOPES.split())

    def _use_opaque(self) -> Iterator[Check]:
        yield from self._check_country(self._show(self._country_request()))

    def _check_token_answer(self, answer: Answer) -> Iterator[Check]:
        self._token = answer.body["access_token"]
        members = "access_token, scope, token_type, expires_in"
        yield members, sorted(answer.body) == sorted(members.split(", "))
        yield "token_type is Bearer", answer.body["token_type"] == "Bearer"  # noqa: S105  a kind, no secret
        yield "expires_in is 14399", answer.body["expires_in"] == FOUR_HOURS - 1
        yield (
            "scope is what was asked for",
            sorted(answer.body["scope"].split()) == sorted(SCOPES.split()),
        )
        yield "Cache-Control: no-store", answer.headers["Cache-Control"] == "no-store"

    def _check_country(self, answer: Answer) -> Iterator[Check]:
        yield "200", answer.status == http.client.OK
        australia = {"code": "AUS", "name": "AUSTRALIA"}
        yield '{"code": "AUS", "name": "AUSTRALIA"}', answer.body == australia

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
    """Pass checks on; an answer that is no answer at all is one more check, and it fails."""
    try:
        yield from checks
    except (KeyError, ValueError, OSError, http.client.HTTPException) as error:
        yield f"an answer of the expected form ({type(error).__name__}: {error})", False


def _quote(text: str) -> str:
    """Quote for bash so that $TOKEN is still expanded."""
    return f'"{text}"' if text.startswith("Authorization: Bearer") else shlex.quote(text)


def _decode(segment: str) -> Any:  # noqa: ANN401  whatever JSON holds
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def _shorten(value: Any) -> Any:  # noqa: ANN401  whatever JSON holds
    """Cut long strings in the middle of nowhere: the whole of them is noise on a terminal."""
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > SHORTEN_OVER:
        return f"{value[:24]}…({len(value)} characters)"
    return value
