"""The Python verifiers, each set up as strictly as its documented options allow.

Runs in the virtual environment of `make bench`. A maker takes a world and returns a function from
a token to its claims. It returns None if the verifier has no option for the world.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwt.types import Options

Verify = Callable[[str], object]
REQUIRED = ["exp", "iss", "aud", "sub"]
REQUIRED_OF_AT_JWT = [*REQUIRED, "client_id", "iat", "jti"]
NOWHERE = "https://auth.example.com/jwks"


class RivalWorld(NamedTuple):
    """The trust settings of a verifier; the Node side reads the same names."""

    issuer: str
    audience: str
    algorithms: list[str]
    key_set: dict[str, Any]
    client_ids: list[str]
    require_at_jwt: bool

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Self:
        """Read a world as it is written for the Node side."""
        return cls(
            members["issuer"],
            members["audience"],
            members["algorithms"],
            members["keySet"],
            members["clientIds"],
            members["requireAtJwt"],
        )

    def write(self) -> dict[str, Any]:
        """Write it for the Node side."""
        return {
            "issuer": self.issuer,
            "audience": self.audience,
            "algorithms": self.algorithms,
            "keySet": self.key_set,
            "clientIds": self.client_ids,
            "requireAtJwt": self.require_at_jwt,
        }

    @property
    def required(self) -> list[str]:
        """The claims that must be there."""
        return REQUIRED_OF_AT_JWT if self.require_at_jwt else REQUIRED


class _WarmJwkClient(jwt.PyJWKClient):
    """PyJWT's client with its response cached."""

    def __init__(self, key_set: dict[str, Any]) -> None:
        super().__init__(NOWHERE)
        self._key_set = key_set

    def fetch_data(self) -> Any:
        if self.jwk_set_cache is not None:
            self.jwk_set_cache.put(self._key_set)
        return self._key_set


def _pyjwt_options(world: RivalWorld) -> Options:
    return {"require": world.required, "enforce_minimum_key_length": True}


def pyjwt_with_client(world: RivalWorld) -> Callable[[str], object] | None:
    """PyJWT, the key found by PyJWKClient."""
    if world.client_ids:
        return None
    client = _WarmJwkClient(world.key_set)
    options = _pyjwt_options(world)
    decode = jwt.PyJWT(options).decode

    def verify(token: str) -> object:
        return decode(
            token,
            client.get_signing_key_from_jwt(token),
            algorithms=world.algorithms,
            audience=world.audience,
            issuer=world.issuer,
        )

    return verify


def pyjwt_with_key(world: RivalWorld) -> Callable[[str], object]:
    """PyJWT with the key loaded."""
    key = jwt.PyJWKSet.from_dict(world.key_set).keys[0]
    decode = jwt.PyJWT(_pyjwt_options(world)).decode

    def verify(token: str) -> object:
        return decode(token, key, algorithms=world.algorithms, audience=world.audience, issuer=world.issuer)

    return verify


def joserfc(world: RivalWorld) -> Callable[[str], object]:
    """joserfc with a key set and its claims registry."""
    keys = KeySet.import_key_set(world.key_set)  # type: ignore[arg-type]
    options: dict[str, Any] = {name: {"essential": True} for name in world.required}
    options["iss"] = {"essential": True, "value": world.issuer}
    options["aud"] = {"essential": True, "value": world.audience}
    if world.client_ids:
        options["client_id"] = {"essential": True, "values": world.client_ids}
    registry = joserfc_jwt.JWTClaimsRegistry(**options)

    def verify(token: str) -> object:
        decoded = joserfc_jwt.decode(token, keys, algorithms=world.algorithms)
        registry.validate(decoded.claims)
        return decoded

    return verify


def powertools(world: RivalWorld) -> Callable[[str], object]:
    """Powertools for AWS Lambda, `utilities.auth_alpha`."""
    from aws_lambda_powertools.utilities.auth_alpha import JWTVerifier

    verifier = JWTVerifier(
        issuer=world.issuer,
        audience=world.audience,
        algorithms=world.algorithms,
        jwks=world.key_set,
        required_claims=world.required,
        expected_claims={"client_id": world.client_ids[0]} if world.client_ids else None,
        expected_headers={"typ": "at+jwt"} if world.require_at_jwt else None,
        clock_skew_seconds=0,
    )
    verify: Callable[[str], object] = verifier.verify
    return verify


VERIFIERS: dict[str, Callable[[RivalWorld], Callable[[str], object] | None]] = {
    "PyJWT": pyjwt_with_client,
    "joserfc": joserfc,
    "Powertools": powertools,
}


def parse_world(text: str) -> RivalWorld:
    """Read a world from JSON."""
    return RivalWorld.read(json.loads(text))
