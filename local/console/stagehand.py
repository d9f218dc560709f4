"""What happens behind the scenes: what an operator, the time or an accident does to the system.

All of it is done to the real parts, and each step says how.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jwt

from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.rotate_keys.settings import Settings as RotationSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.keys import signing_keys
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.tokens.opaque_tokens import DynamoDbOpaqueTokens, generate_token
from infra.cli.key_operations import Emergency
from infra.local_stack import AUTH_STAGE, physical_names
from local.console import tokens
from local.console.processes import Processes
from local.console.steps import Detail, Step, facts, key_set, token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functions.shared.clients.client import Client
    from functions.shared.keys.key_ring import KeyRing
    from functions.shared.runtime.aws_clients import AwsClients

__all__ = ["JWKS_PATH", "Stagehand"]

JWKS_PATH = f"/{AUTH_STAGE}/oauth2/jwks"
_RING_READERS = ["IssueToken", "PublishJwks", "IntrospectToken", "RevokeToken"]
_LONG_AGO = 60
"""Seconds that an expired token has been expired for."""
_ALWAYS_STALE = "0.001"


@dataclass(frozen=True)
class Stagehand:
    """Changes the running laptop edition. `folder` has the sockets of its processes."""

    folder: str
    aws: AwsClients
    clock: Callable[[], float]
    has_bound_api: bool = False

    def client(self, client_id: str) -> Client | None:
        """Return a client as it is registered now."""
        clients = DynamoDbClients(self.aws.dynamodb, physical_names()["ClientsTable"])
        return clients.find(client_id)

    def is_key_set_down(self) -> bool:
        """Whether the JWKS endpoint was taken down."""
        return bool(self.records("auth_server")["down"])

    def records(self, service: str, since: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return what a service's processes recorded, after what had been the last of each."""
        return Processes(self.folder, service).records(since)

    def ring(self) -> KeyRing:
        """Return the key ring as it is in Secrets Manager."""
        return self._ring_store().read().ring

    def rotate(self) -> Step:
        """Let a new key sign at once, as the emergency rotation does."""
        settings = self._rotation()
        secrets = self._secrets()
        halves = SecretsManagerKeys(secrets, settings.signing_keys_secret)
        kid = Emergency(self._ring_store(), halves, settings.rules(), self.clock).rotate("RS256")
        self._start_anew("auth_server", _RING_READERS)
        return Step(
            "auth",
            "auth",
            "The keys are rotated",
            f"A new key, {kid[:8]}…, signs from now on. The one before stays published until no "
            "token of it can count. The auth server's functions were started anew: warm ones would "
            "sign with the old key for up to 30 seconds more.",
            chip="new key",
            details=(key_set("The key ring now", self.described_ring(), kid),),
        )

    def described_ring(self) -> list[dict[str, str]]:
        """Return the ring's keys with what each does at the moment."""
        ring, now = self.ring(), self.clock()
        return [
            {
                "kid": key.kid,
                "alg": key.alg,
                "note": "signs" if key.may_sign(now) else "published, signs no more",
            }
            for key in ring.published_keys(now)
        ]

    def take_key_set_down(self) -> None:
        """Let the JWKS endpoint answer 503."""
        Processes(self.folder, "auth_server").tell("take_down", paths=[JWKS_PATH])

    def bring_key_set_back(self) -> None:
        """Let the JWKS endpoint answer again."""
        Processes(self.folder, "auth_server").tell("take_down", paths=[])

    def new_authorizer(self, *, always_stale: bool = False) -> None:
        """Give each API's authorizer a new sandbox, and API Gateway an empty cache of policies."""
        environment = {"JWKS_SOFT_AGE": _ALWAYS_STALE if always_stale else ""}
        for api in ("guarded_api", "bound_api") if self.has_bound_api else ("guarded_api",):
            self._start_anew(api, ["Authorizer"], environment)
            Processes(self.folder, api).tell("flush")

    def expire(self, text: str) -> tuple[str, Step]:
        """Return a token like this one that has expired, and how it came about."""
        if tokens.is_jwt(text):
            return self._expired_jwt(text)
        return self._expired_handle(text)

    def tamper(self, text: str) -> tuple[str, Step]:
        """Return a token like this one with something changed, and what."""
        changed = tokens.tampered(text)
        if tokens.is_jwt(changed):
            sentence = (
                "The subject is somebody else now. The signature is still over what was there."
            )
            detail = token(changed, *tokens.decode(changed))
        else:
            sentence = "The last character is another one. Nobody can tell by looking at it."
            detail = facts(("token", changed))
        return changed, _mishap("The token is tampered with", sentence, "tampered", detail)

    def _expired_jwt(self, text: str) -> tuple[str, Step]:
        header, claims = tokens.decode(text)
        past = tokens.moved_back(claims, claims["exp"] - int(self.clock()) + _LONG_AGO)
        stored = self._secrets().read(physical_names()["SigningKeysSecret"])
        key = signing_keys.from_pem(signing_keys.from_json(stored)[header["kid"]])
        # PyJWT writes `typ` itself unless it is told not to.
        headers = {"kid": header["kid"], "typ": header.get("typ")}
        expired = jwt.encode(past, key, header["alg"], headers)
        sentence = (
            "The same claims with times in the past, signed with the real key: as if the token had "
            f"been issued long ago. It expired {_LONG_AGO} seconds ago; all else about it is right."
        )
        detail = token(expired, *tokens.decode(expired))
        return expired, _mishap("The token expires", sentence, "expired", detail)

    def _expired_handle(self, text: str) -> tuple[str, Step]:
        store = DynamoDbOpaqueTokens(self.aws.dynamodb, physical_names()["TokensTable"])
        now = int(self.clock())
        meaning = store.find(text, now)
        if meaning is None:
            raise LookupError("no such token")
        back = meaning.expires_at - now + _LONG_AGO
        expired = generate_token()
        past = replace(
            meaning, issued_at=meaning.issued_at - back, expires_at=meaning.expires_at - back
        )
        store.put(expired, past)
        sentence = (
            "A token like it was put into the auth server's table with times in the past: as if it "
            f"had been issued long ago. It expired {_LONG_AGO} seconds ago."
        )
        detail = facts(("token", expired))
        return expired, _mishap("The token expires", sentence, "expired", detail)

    def _start_anew(
        self, service: str, functions: list[str], environment: dict[str, str] | None = None
    ) -> None:
        processes = Processes(self.folder, service)
        processes.tell("restart", functions=functions, environment=environment or {})

    def _rotation(self) -> RotationSettings:
        known = physical_names()
        return RotationSettings(known["KeyRingSecret"], known["SigningKeysSecret"])

    def _ring_store(self) -> RingStore:
        return RingStore(self._secrets(), physical_names()["KeyRingSecret"])

    def _secrets(self) -> SecretsManagerStore:
        return SecretsManagerStore(self.aws.secrets_manager)


def _mishap(title: str, sentence: str, chip: str, detail: Detail) -> Step:
    return Step("client", "client", title, sentence, chip, "bad", (detail,))
