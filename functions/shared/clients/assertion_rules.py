"""What a client that signs its own assertions is registered with (private_key_jwt). RFC 7523."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from authorizer import strict_json
from authorizer.https_client import parse_url
from authorizer.jwk import ALGORITHMS, PRIVATE_MEMBERS, KeySet, parse_key_set
from authorizer.reasons import Reason
from functions.shared.storage import dynamodb_items

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ASSERTION_LIFETIME: Final = 300
LONGEST_ASSERTION_LIFETIME: Final = 3600
_WARM_KEY_SETS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionRules:
    """A client's keys, and what its assertions must look like.

    The keys are in `jwks`, a JWK Set as JSON, or at `jwks_uri`, never both; keys that cannot verify
    signatures are ignored in either. `signing_alg` pins the
    algorithm (`token_endpoint_auth_signing_alg`); empty is any that we know. `lifetime` is how many
    seconds ahead `exp` may lie. `accepts_token_endpoint` admits the token endpoint's URL as `aud`
    beside the issuer; `requires_typ` insists on `client-authentication+jwt`.
    """

    jwks: str = ""
    jwks_uri: str = ""
    signing_alg: str = ""
    lifetime: int = DEFAULT_ASSERTION_LIFETIME
    accepts_token_endpoint: bool = False
    requires_typ: bool = False

    def __post_init__(self) -> None:
        if bool(self.jwks) == bool(self.jwks_uri):
            raise ValueError("A client that signs assertions needs jwks or jwks_uri, not both.")
        if self.signing_alg and self.signing_alg not in ALGORITHMS:
            raise ValueError(f"An assertion is signed with one of {', '.join(sorted(ALGORITHMS))}.")
        if not 0 < self.lifetime <= LONGEST_ASSERTION_LIFETIME:
            raise ValueError(f"An assertion lives 1 to {LONGEST_ASSERTION_LIFETIME} seconds.")
        if self.jwks_uri:
            parse_url(self.jwks_uri)
        else:
            _check_inline_keys(self.key_set)

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that this client may sign with."""
        return frozenset({self.signing_alg}) if self.signing_alg else ALGORITHMS

    @property
    def key_set(self) -> KeySet:
        """The keys in `jwks`.

        Raises:
            ValueError: it is not a JWK Set, or holds a private key.
        """
        return _read_key_set(self.jwks, self.signing_alg)


def _check_inline_keys(key_set: KeySet) -> None:
    """Return if the set can verify. Keys for other purposes, such as encryption, are left out.

    Raises:
        ValueError: no key is usable, or two usable keys have one key id.
    """
    if Reason.KID_AMBIGUOUS in key_set.left_out:
        raise ValueError("Two different signing keys in jwks have the same kid.")
    if not key_set.keys:
        reasons = ", ".join(sorted(set(key_set.left_out))) or "it is empty"
        raise ValueError(f"jwks has no usable public signing key with a kid: {reasons}.")


@lru_cache(maxsize=_WARM_KEY_SETS)
def _read_key_set(jwks: str, signing_alg: str) -> KeySet:
    document = strict_json.parse_object(jwks.encode())
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("jwks is a JWK Set: an object with an array named keys.")  # noqa: TRY004 - a fault of the record, as the others
    if any(isinstance(key, dict) and not PRIVATE_MEMBERS.isdisjoint(key) for key in keys):
        raise ValueError("jwks holds a private or symmetric key. Register public keys only.")
    if signing_alg:
        # An RSA key without `alg` would count as an RS256 key, whatever its client is pinned to.
        document["keys"] = [
            {"alg": signing_alg, **key} if isinstance(key, dict) else key for key in keys
        ]
    algorithms = frozenset({signing_alg}) if signing_alg else ALGORITHMS
    return parse_key_set(json.dumps(document).encode(), algorithms)


def to_record(rules: AssertionRules | None) -> dict[str, object] | None:
    """Render rules as part of a client's record."""
    if rules is None:
        return None
    return {
        "jwks": rules.jwks,
        "jwks_uri": rules.jwks_uri,
        "signing_alg": rules.signing_alg,
        "lifetime": rules.lifetime,
        "accepts_token_endpoint": rules.accepts_token_endpoint,
        "requires_typ": rules.requires_typ,
    }


def from_record(record: Mapping[str, Any] | None) -> AssertionRules | None:
    """Read what `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    if record is None:
        return None
    return AssertionRules(
        jwks=dynamodb_items.text(record["jwks"]),
        jwks_uri=dynamodb_items.text(record["jwks_uri"]),
        signing_alg=dynamodb_items.text(record["signing_alg"]),
        lifetime=dynamodb_items.integer(record["lifetime"]),
        accepts_token_endpoint=dynamodb_items.boolean(record["accepts_token_endpoint"]),
        requires_typ=dynamodb_items.boolean(record["requires_typ"]),
    )
