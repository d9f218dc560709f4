"""The walkthrough: prints each request and its response, and checks the response."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from authorizer import base64url
from authorizer.errors import InvalidTokenError
from local.http_client import HttpRequest, HttpResponse, ShellValue, send

SCOPES = "country.read customer.read customer.write"
FOUR_HOURS = 14400
LONGEST_SHOWN = 60
HIDDEN_HEADERS = {"date", "server", "content-length", "connection"}


@dataclass(frozen=True, slots=True)
class Check:
    """A statement about a response: `text` in words, and the two values that must be equal."""

    text: str
    expected: object
    got: object

    @property
    def holds(self) -> bool:
        """True if the response is as expected."""
        return self.expected == self.got

    def failure(self) -> str:
        """Return both values in words."""
        return f"{self.text}: expected {_brief(self.expected)}, got {_brief(self.got)}"


class Services(Protocol):
    """The addresses of the two services."""

    @property
    def issuer(self) -> str:
        """The authorization server's address."""

    @property
    def guarded_api(self) -> str:
        """The guarded API's address; empty without one."""


@dataclass(frozen=True, slots=True)
class DemoCredentials:
    """The two clients of the walkthrough: one gets JWTs, the other opaque tokens."""

    jwt_client: str = "service-client-jwt"
    opaque_client: str = "service-client-opaque"
    secrets: Mapping[str, str] = field(
        default_factory=lambda: {name: f"{name}-secret" for name in ("service-client-jwt", "service-client-opaque")},
        repr=False,
    )

    def token_request(self, issuer: str, client_id: str, scope: str) -> HttpRequest:
        """Return a token request of one of the clients."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": self.secrets[client_id],
            "scope": scope,
        }
        return HttpRequest(f"{issuer}/oauth2/token", form=form)


class Walkthrough:
    """The walkthrough of the README, on a laptop or on a deployed stack."""

    def __init__(
        self, services: Services, *, credentials: DemoCredentials | None = None, write: Callable[[str], None] = print
    ) -> None:
        self._credentials = credentials or DemoCredentials()
        self._issuer = services.issuer
        self._has_api = bool(services.guarded_api)
        self._country_url = f"{services.guarded_api}/country/code/AUS"
        self._write = write
        self._token = ""
        self.failures: list[str] = []

    def run(self) -> None:
        """Run every step, and add failed checks to `failures`.

        Without a guarded API only the steps at the authorization server run.
        """
        steps = [(title, step) for at_api, title, step in self._steps() if self._has_api >= at_api]
        for number, (title, step) in enumerate(steps, start=1):
            self._write(f"\n{number}. {title}")
            for check in _until_failure(step()):
                if check.holds:
                    self._write(f"   ✓ {check.text}")
                else:
                    self._write(f"   ✗ FAILED {check.failure()}")
                    self.failures.append(f"step {number}: {check.failure()}")

    def _steps(self) -> Iterator[tuple[bool, str, Callable[[], Iterator[Check]]]]:
        """Yield whether a step needs the guarded API, its title, and its function."""
        yield True, "Without a token the guarded API answers 401", self._refuse_without_token
        yield False, "A client gets a token with its credentials (RFC 6749, 4.4)", self._get_jwt
        yield True, "The guarded API accepts the token", self._use_token
        yield False, "The key set that verifies the token", self._read_key_set
        yield True, "A token without the scope gets 403", self._use_wrong_scope
        yield True, "A forged token gets 401", self._use_forged
        yield False, "A second client gets an opaque token", self._get_opaque
        yield False, "Introspection returns its claims (RFC 7662)", self._introspect
        yield True, "The guarded API accepts the opaque token", self._use_token

    def _refuse_without_token(self) -> Iterator[Check]:
        answer = self._show(HttpRequest(self._country_url))
        yield _status(401, answer)
        yield _header("WWW-Authenticate", "Bearer", answer)

    def _get_jwt(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._credentials.jwt_client, SCOPES))
        yield _status(200, answer)
        yield from self._check_token_answer(answer)
        header, claims = (json.loads(base64url.decode(part.encode())) for part in self._token.split(".")[:2])
        self._write(f"   header {json.dumps(header)}")
        self._write(f"   claims {json.dumps(claims)}")
        yield Check("header: kid and alg RS256", ["alg", "kid"], sorted(header))
        yield Check("alg is RS256", "RS256", header["alg"])
        yield _members("claims: ", "sub, aud, nbf, scope, iss, exp, iat, jti", claims)
        client = self._credentials.jwt_client
        yield Check("sub and aud are the client", [client] * 2, [claims["sub"], claims["aud"]])
        yield _scopes("scope is the list of requested scopes", claims["scope"])
        yield Check(f"iss is {self._issuer}", self._issuer, claims["iss"])
        yield Check("it is valid for four hours", FOUR_HOURS, claims["exp"] - claims["iat"])
        yield Check("it is valid at once", "now", "now" if claims["nbf"] <= time.time() else "later")

    def _use_token(self) -> Iterator[Check]:
        answer = self._show(self._country_request())
        yield _status(200, answer)
        australia = {"code": "AUS", "name": "AUSTRALIA"}
        yield Check(json.dumps(australia), australia, answer.json)

    def _read_key_set(self) -> Iterator[Check]:
        answer = self._show(HttpRequest(f"{self._issuer}/oauth2/jwks"))
        yield _status(200, answer)
        keys = {key["kid"]: key for key in answer.json["keys"]}
        kid = json.loads(base64url.decode(self._token.partition(".")[0].encode()))["kid"]
        yield Check("the token's kid is in it", kid, kid if kid in keys else sorted(keys))
        expected = ["alg", "e", "kid", "kty", "n", "use"]
        members = sorted(keys.get(kid, {}))
        yield Check("kty, e, kid, n (and use, alg), no private member", expected, members)

    def _use_wrong_scope(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._credentials.jwt_client, "customer.read"))
        if answer.status != http.client.OK:
            yield _status(200, answer)
        self._token = answer.json["access_token"]
        answer = self._show(self._country_request())
        yield _status(403, answer)
        yield _header("WWW-Authenticate", 'Bearer error="insufficient_scope"', answer)

    def _use_forged(self) -> Iterator[Check]:
        header, claims, signature = self._token.split(".")
        self._token = f"{header}.{claims}.{signature[::-1]}"
        self._write("   TOKEN is now that token with its signature reversed.")
        answer = self._show(self._country_request())
        yield _status(401, answer)
        yield _header("WWW-Authenticate", "Bearer", answer)

    def _get_opaque(self) -> Iterator[Check]:
        answer = self._show(self._token_request(self._credentials.opaque_client, SCOPES))
        yield _status(200, answer)
        yield from self._check_token_answer(answer)
        yield Check("it is opaque: no dots, not a JWT", "0 dots", f"{self._token.count('.')} dots")

    def _introspect(self) -> Iterator[Check]:
        client_id = self._credentials.opaque_client
        user = f"{client_id}:{self._credentials.secrets[client_id]}"
        form = {"token": ShellValue(self._token, "$TOKEN")}
        answer = self._show(HttpRequest(f"{self._issuer}/oauth2/introspect", form=form, user=user))
        yield _status(200, answer)
        yield Check("active", {"active": True}, {"active": answer.json["active"]})
        yield Check("client_id", client_id, answer.json.get("client_id"))
        yield _scopes("scope", answer.json.get("scope", "").split())

    def _check_token_answer(self, answer: HttpResponse) -> Iterator[Check]:
        self._token = answer.json["access_token"]
        yield _members("", "access_token, scope, token_type, expires_in", answer.json)
        yield Check("token_type is Bearer", "Bearer", answer.json["token_type"])
        yield Check("expires_in is 14399", FOUR_HOURS - 1, answer.json["expires_in"])
        yield _scopes("scope has the requested scopes", answer.json["scope"].split())
        yield _header("Cache-Control", "no-store", answer)

    def _token_request(self, client_id: str, scope: str) -> HttpRequest:
        return self._credentials.token_request(self._issuer, client_id, scope)

    def _country_request(self) -> HttpRequest:
        bearer = ShellValue(f"Bearer {self._token}", "Bearer $TOKEN")
        return HttpRequest(self._country_url, {"Authorization": bearer})

    def _show(self, request: HttpRequest) -> HttpResponse:
        """Send a request, and print it as a curl command with its response."""
        self._write("   $ " + request.as_curl().replace("\n", "\n      "))
        answer = send(request)
        self._write(f"   HTTP/1.1 {answer.status} {answer.reason}")
        for name, value in answer.headers.items():
            if name.lower() not in HIDDEN_HEADERS:
                self._write(f"   {name}: {value}")
        body = json.dumps(_shorten(answer.json), indent=2, ensure_ascii=False)
        self._write("   " + body.replace("\n", "\n   "))
        return answer


def _until_failure(checks: Iterator[Check]) -> Iterator[Check]:
    """Yield checks up to a failed status, because later ones would fail for the same reason.

    A missing or unreadable response becomes a failed check.
    """
    try:
        for check in checks:
            yield check
            if not check.holds and check.text.isdecimal():
                return
    except (InvalidTokenError, KeyError, TypeError, ValueError, OSError, http.client.HTTPException) as error:
        yield Check("the response", "the form above", f"{type(error).__name__}: {error}")


def _status(expected: int, answer: HttpResponse) -> Check:
    """Compare the status; the error code of OAuth or of API Gateway is part of a failure."""
    if answer.status == expected:
        return Check(str(expected), expected, expected)
    members = answer.json if isinstance(answer.json, dict) else {}
    error = members.get("error") or members.get("message") or answer.reason
    return Check(str(expected), expected, f"{answer.status} {error}")


def _header(name: str, expected: str, answer: HttpResponse) -> Check:
    return Check(f"{name}: {expected}", expected, answer.headers[name])


def _members(title: str, expected: str, got: Mapping[str, object]) -> Check:
    return Check(title + expected, sorted(expected.split(", ")), sorted(got))


def _scopes(text: str, got: list[str]) -> Check:
    return Check(text, sorted(SCOPES.split()), sorted(got))


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(_shorten(value))


def _shorten(value: Any) -> Any:
    """Cut long strings, such as tokens."""
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:24]}…({len(value)} characters)"
    return value
