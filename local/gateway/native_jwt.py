"""Emulate the native JWT authorizers of REST and HTTP APIs.

API Gateway Developer Guide: "Control access to REST APIs using JWT authorizers"; "Control access to HTTP APIs with JWT
authorizers". docs/guard-your-api.md lists what is inferred.

AWS documents fewer checks than `authorizer` has: no `typ`, no `cnf`, no maximum lifetime. This module therefore does
not use its strict parser.
"""

import http.client
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jwt

from authorizer.https_client import parse_url
from infra.cloudformation import TemplateError
from infra.guards import MAX_KEY_SET_LENGTH, Guard
from local.gateway.events import Call
from local.gateway.gateway_responses import GatewayError
from local.gateway.model import Api, ApiKind, JwtAuthorizer, JwtIssuer, RequiredClaim
from local.http_client import HttpRequest, send

_FETCH_SECONDS = 5.0

Clock = Callable[[], float]


class FetchError(Exception):
    """Raised when a discovery document or a key set is not available."""


class RejectedTokenError(Exception):
    """Raised when a guard rejects a token. The message is the description for the client."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A decoded token. Its signature is not verified."""

    text: str
    header: Mapping[str, object]
    claims: Mapping[str, object]

    @classmethod
    def decode(cls, text: str) -> "UnverifiedToken":
        """Decode a compact JWS whose payload is a JSON object.

        Raises:
            RejectedTokenError: the text is anything else.
        """
        try:
            decoded = jwt.PyJWS().decode_complete(text, options={"verify_signature": False})
            claims = json.loads(decoded["payload"])
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise RejectedTokenError("the token is not a JWT") from error
        if not isinstance(claims, dict):
            raise RejectedTokenError("the token is not a JWT")
        return cls(text, decoded["header"], claims)

    def verify(self, key: Mapping[str, object], algorithms: frozenset[str]) -> None:
        """Return if the key made the signature with one of the algorithms.

        Raises:
            RejectedTokenError: it did not.
        """
        algorithm = self.header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise RejectedTokenError("the token's algorithm is not supported")
        if key.get("alg", algorithm) != algorithm:
            raise RejectedTokenError("the token's signature is not valid")
        try:
            jwt.PyJWS().decode_complete(self.text, jwt.PyJWK(dict(key), algorithm), algorithms=[algorithm])
        except jwt.PyJWTError as error:
            raise RejectedTokenError("the token's signature is not valid") from error

    def check_times(self, now: float) -> None:
        """Check `exp`, and `nbf` and `iat` if present, without leeway.

        Raises:
            RejectedTokenError: the token is expired or not valid yet, or has no valid `exp`.
        """
        expires_at = self._time("exp")
        if expires_at is None or now >= expires_at:
            raise RejectedTokenError("the token has expired")
        for name in ("nbf", "iat"):
            time = self._time(name)
            if time is not None and time > now:
                raise RejectedTokenError(f"the token is not valid yet: {name}")

    def _time(self, name: str) -> float | None:
        value = self.claims.get(name)
        if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
            return value
        raise RejectedTokenError(f"the token's {name} is not a number")


class KeySetRules(NamedTuple):
    """How a guard caches a key set, and the size from which it does not use one.

    `lifetime` is in seconds. `refetch_unknown` is whether an unknown key ID causes a fetch.
    """

    lifetime: float
    refetch_unknown: bool
    max_keys: float = math.inf
    max_length: float = math.inf


class KeySet:
    """The keys at a URL, as a guard caches them. The clock returns seconds since the epoch."""

    def __init__(self, url: str, rules: KeySetRules, clock: Clock) -> None:
        self._url = url
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._expires_at = 0.0
        self._keys: Mapping[str, Mapping[str, object]] = {}

    def find(self, header: Mapping[str, object]) -> Mapping[str, object]:
        """Return the key that a token's header names.

        Raises:
            FetchError: the key set is not available, or exceeds a limit.
            RejectedTokenError: there is no such key.
        """
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise RejectedTokenError("the token has no kid")
        with self._lock:
            expired = self._clock() >= self._expires_at
            if expired or (kid not in self._keys and self._rules.refetch_unknown):
                self._keys = self._load()
                self._expires_at = self._clock() + self._rules.lifetime
            if kid not in self._keys:
                raise RejectedTokenError("the token's kid is not in the key set")
            return self._keys[kid]

    def _load(self) -> Mapping[str, Mapping[str, object]]:
        raw = fetch(self._url)
        keys = _json_object(raw, self._url).get("keys")
        if not isinstance(keys, list):
            raise FetchError(f"{self._url} is not a key set")
        if len(keys) > self._rules.max_keys or len(raw) > self._rules.max_length:
            raise FetchError(f"{self._url} has {len(keys)} keys and {len(raw)} bytes, which is too much")
        return {str(key["kid"]): key for key in keys if isinstance(key, dict) and "kid" in key}


_KEY_SET_RULES: Mapping[ApiKind, KeySetRules] = {
    "rest": KeySetRules(3600, refetch_unknown=True),
    "http": KeySetRules(7200, refetch_unknown=False, max_length=MAX_KEY_SET_LENGTH[Guard.HTTP_JWT]),
}


class JwtAuthorizers:
    """The native JWT authorizers of one API.

    The discovery document of each issuer is read once, as AWS does when it creates an authorizer.

    Raises:
        TemplateError: an issuer's discovery document is not available or names another issuer.
    """

    def __init__(self, api: Api, clock: Clock) -> None:
        self._clock = clock
        self._is_rest = api.kind == "rest"
        self._key_sets: dict[str, KeySet] = {}
        for authorizer in {route.authorizer for route in api.routes if isinstance(route.authorizer, JwtAuthorizer)}:
            for trusted in authorizer.issuers:
                try:
                    url = _discover(trusted.issuer)
                except FetchError as error:
                    raise TemplateError(f"{api.logical_id}: authorizer {authorizer.name}: {error}") from error
                self._key_sets[trusted.issuer] = KeySet(url, _KEY_SET_RULES[api.kind], clock)

    def authorize(self, call: Call, authorizer: JwtAuthorizer, sent: str | None) -> dict[str, object]:
        """Return the authorizer context for the function. `sent` is the value of the identity source.

        Raises:
            GatewayError: UNAUTHORIZED, ACCESS_DENIED or AUTHORIZER_FAILURE.
        """
        if not sent:
            raise GatewayError("UNAUTHORIZED", challenge="Bearer")
        try:
            token = self._verified(sent, authorizer)
        except RejectedTokenError as error:
            raise GatewayError("UNAUTHORIZED", challenge=_challenge("", "invalid_token", str(error))) from error
        except FetchError as error:
            if self._is_rest:
                raise GatewayError("AUTHORIZER_FAILURE") from error
            challenge = _challenge("", "invalid_token", "OIDC discovery endpoint communication error")
            raise GatewayError("UNAUTHORIZED", challenge=challenge) from error
        required = call.route.scopes
        if required and required.isdisjoint(_scopes(token.claims)):
            description = "the token does not have any of the required scopes"
            challenge = _challenge(" ".join(sorted(required)), "insufficient_scope", description)
            raise GatewayError("ACCESS_DENIED", challenge=challenge)
        if self._is_rest:
            return {"claims": dict(token.claims)}
        claims = {name: _claim_text(value) for name, value in token.claims.items()}
        return {"claims": claims, "scopes": sorted(required) or None}

    def _verified(self, sent: str, authorizer: JwtAuthorizer) -> UnverifiedToken:
        token = UnverifiedToken.decode(_without_scheme(sent))
        trusted = next((each for each in authorizer.issuers if each.issuer == token.claims.get("iss")), None)
        if trusted is None:
            raise RejectedTokenError("the token does not have a valid issuer")
        key = self._key_sets[trusted.issuer].find(token.header)
        token.verify(key, authorizer.algorithms)
        token.check_times(self._clock())
        self._check_audience(token.claims, trusted)
        for claim in trusted.claims:
            _check_claim(token.claims, claim)
        return token

    def _check_audience(self, claims: Mapping[str, object], trusted: JwtIssuer) -> None:
        audience = claims.get("aud")
        if audience is None and not self._is_rest:
            audience = claims.get("client_id")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(each, str) and each in trusted.audiences for each in audiences):
            raise RejectedTokenError("the token does not have a valid audience")


def fetch(url: str) -> bytes:
    """Return the document at an `https` URL, or at an `http` URL of a loopback host.

    Raises:
        FetchError: there is no response, or its status is not 200.
    """
    try:
        parse_url(url)
        response = send(HttpRequest(url), _FETCH_SECONDS)
    except (ValueError, OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url} cannot be fetched: {error}") from error
    if response.status != http.HTTPStatus.OK:
        raise FetchError(f"{url} answers {response.status}")
    return response.text.encode()


def _discover(issuer: str) -> str:
    """Return the address of an issuer's key set.

    Raises:
        FetchError: the discovery document is not available or names another issuer.
    """
    url = issuer.removesuffix("/") + "/.well-known/openid-configuration"
    document = _json_object(fetch(url), url)
    if document.get("issuer") != issuer:
        raise FetchError(f"{url} names the issuer {document.get('issuer')!r}, not {issuer!r}")
    jwks_uri = document.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        raise FetchError(f"{url} has no jwks_uri")
    return jwks_uri


def _json_object(raw: bytes, url: str) -> dict[str, object]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{url} is not JSON") from error
    if not isinstance(document, dict):
        raise FetchError(f"{url} is not a JSON object")
    return document


def _without_scheme(sent: str) -> str:
    scheme, separator, token = sent.partition(" ")
    return token if separator and scheme.lower() == "bearer" else sent


def _scopes(claims: Mapping[str, object]) -> list[str]:
    """Return the scopes in `scope`, or in `scp` without it: a list or a space-separated string."""
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, str):
        return value.split(" ")
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _check_claim(claims: Mapping[str, object], rule: RequiredClaim) -> None:
    if rule.name not in claims and not rule.required:
        return
    value = claims.get(rule.name)
    if not isinstance(value, str) or rule.value not in (None, value):
        raise RejectedTokenError(f"the token's {rule.name} is not accepted")


def _claim_text(value: object) -> str:
    """Return a claim as an HTTP API passes it on: `[a b]` for a list, JSON for an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{' '.join(_claim_text(each) for each in value)}]"
    return json.dumps(value, separators=(",", ":"))


def _challenge(scope: str, error: str, description: str) -> str:
    return f'Bearer scope="{scope}" error="{error}" error_description="{description}"'
