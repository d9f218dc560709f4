"""Faults and events of the running laptop edition: rotation, outages, expired and changed tokens.

They are injected into the real components, and each step describes how.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt

from authorizer import base64url
from authorizer.aws import Aws
from functions.rotate_keys.handler import Settings as RotationSettings
from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.keys import signing_keys
from functions.shared.storage.secrets_manager import SecretStore
from functions.shared.tokens.opaque_tokens import OpaqueTokenStore, generate_token
from infra.cli.key_operations import KeyOperations
from infra.local_stack import AUTH_STAGE, physical_names
from local.console.clients import is_jwt
from local.console.control_socket import ControlClient
from local.console.steps import Detail, Step, facts, key_set, token
from local.gateway.native_jwt import UnverifiedToken

JWKS_PATH = f"/{AUTH_STAGE}/oauth2/jwks"
_KEY_RING_READERS = ["IssueToken", "PublishJwks", "IntrospectToken", "RevokeToken"]
_EXPIRED_FOR = 60
"""Seconds since the expiry of an expired token."""
_ALWAYS_STALE = "0.001"


@dataclass(frozen=True, slots=True)
class FaultInjector:
    """Changes the running laptop edition. `folder` has the sockets of its processes."""

    folder: str
    aws: Aws
    clock: Callable[[], float]
    has_bound_api: bool = False

    def client(self, client_id: str) -> Client | None:
        """Return a client as it is registered."""
        return DynamoDbClients(self.aws, physical_names()["ClientsTable"]).find(client_id)

    def is_key_set_down(self) -> bool:
        """Return whether the JWKS endpoint is down."""
        return bool(self._service("auth_server").records()["down"])

    def rotate(self) -> Step:
        """Replace the signing key at once, as `gatehouse keys emergency` does."""
        known, secrets = physical_names(), SecretStore(self.aws)
        settings = RotationSettings(known["KeyRingSecret"], known["SigningKeysSecret"])
        store = RingStore(secrets, settings.key_ring_secret)
        private_keys = SecretsManagerKeys(secrets, settings.signing_keys_secret)
        keys = KeyOperations(store, private_keys, settings.rules(), self.clock)
        kid = keys.rotate_at_once("RS256")
        self._service("auth_server").run("restart", functions=_KEY_RING_READERS, environment={})
        now = self.clock()
        described = [
            {"kid": key.kid, "alg": key.alg, "note": "signs" if key.may_sign(now) else "published, does not sign"}
            for key in store.read().ring.published_keys(now)
        ]
        return Step(
            "auth",
            "auth",
            "The keys are rotated",
            f"The new key {kid[:8]}… signs from now on. The previous key stays published until its "
            "last token expires. The auth server's functions were restarted, because warm ones "
            "would sign with the previous key for up to 30 seconds.",
            chip="new key",
            details=(key_set("The key ring now", described, kid),),
        )

    def take_down(self, *paths: str) -> None:
        """Make the auth server answer 503 for these paths, and restore all others."""
        self._service("auth_server").run("take_down", paths=paths)

    def restart_authorizer(self, *, always_stale: bool = False) -> None:
        """Restart each API's authorizer, and clear API Gateway's policy cache."""
        environment = {"JWKS_SOFT_AGE": _ALWAYS_STALE if always_stale else ""}
        for api in ("guarded_api", "bound_api") if self.has_bound_api else ("guarded_api",):
            self._service(api).run("restart", functions=["Authorizer"], environment=environment)
            self._service(api).run("flush")

    def expire(self, text: str) -> tuple[str, Step]:
        """Return an expired copy of a token, and the step that describes it.

        Raises:
            LookupError: the auth server has not issued the token.
            RejectedTokenError: the token has the shape of a JWT and cannot be parsed.
        """
        return self._expired_jwt(text) if is_jwt(text) else self._expired_opaque(text)

    def tamper(self, text: str) -> tuple[str, Step]:
        """Return a changed copy of a token, and the step that describes it.

        Raises:
            RejectedTokenError: the token has the shape of a JWT and cannot be parsed.
        """
        changed = tampered(text)
        if is_jwt(changed):
            sentence = "The subject was changed. The signature is still the original one."
            detail = token(changed)
        else:
            sentence = "The last character was changed. The token still looks valid."
            detail = facts(("token", changed))
        return changed, _token_fault("The token is tampered with", sentence, "tampered", detail)

    def _expired_jwt(self, text: str) -> tuple[str, Step]:
        decoded = UnverifiedToken.decode(text)
        header: Mapping[str, Any] = decoded.header
        claims: Mapping[str, Any] = decoded.claims
        past = moved_back(claims, claims["exp"] - int(self.clock()) + _EXPIRED_FOR)
        stored = SecretStore(self.aws).read(physical_names()["SigningKeysSecret"])
        key = signing_keys.from_pem(signing_keys.from_json(stored)[header["kid"]])
        # With None, PyJWT does not add its own `typ`.
        headers = {"kid": header["kid"], "typ": header.get("typ")}
        expired = jwt.encode(past, key, header["alg"], headers)
        sentence = (
            f"A copy of the token with earlier times, signed with the real key. It expired {_EXPIRED_FOR} seconds ago "
            "and is valid otherwise."
        )
        return expired, _token_fault("The token expires", sentence, "expired", token(expired))

    def _expired_opaque(self, text: str) -> tuple[str, Step]:
        store = OpaqueTokenStore(self.aws, physical_names()["TokensTable"])
        now = int(self.clock())
        meaning = store.find(text, now)
        if meaning is None:
            raise LookupError("unknown token")
        back = meaning.expires_at - now + _EXPIRED_FOR
        expired = generate_token()
        past = replace(meaning, issued_at=meaning.issued_at - back, expires_at=meaning.expires_at - back)
        store.put(expired, past)
        sentence = "A copy of the token with earlier times was added to the auth server's table. "
        sentence += f"It expired {_EXPIRED_FOR} seconds ago."
        return expired, _token_fault("The token expires", sentence, "expired", facts(("token", expired)))

    def _service(self, name: str) -> ControlClient:
        return ControlClient(self.folder, name)


def tampered(token: str) -> str:
    """Return a changed copy: another subject of a JWT, another last character of others."""
    if not is_jwt(token):
        return token[:-1] + ("A" if token[-1] != "A" else "B")
    header, _, signature = token.split(".")
    claims = json.dumps({**UnverifiedToken.decode(token).claims, "sub": "another-client"})
    return f"{header}.{base64url.encode(claims.encode())}.{signature}"


def moved_back(claims: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Return the claims with their times moved back."""
    times = {name: claims[name] - seconds for name in ("iat", "nbf", "exp") if name in claims}
    return {**claims, **times}


def _token_fault(title: str, sentence: str, chip: str, detail: Detail) -> Step:
    return Step("client", "client", title, sentence, chip, "bad", (detail,))
