"""Rules for the client assertions of a client: self-issued (RFC 7523) or of another issuer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from authorizer import strict_json
from authorizer.errors import Reason
from authorizer.https_client import parse_url
from authorizer.jwk import KeySet, has_private_part, parse_key_set
from authorizer.jws import ALGORITHMS, with_both_names

from ..lifetimes import DAY
from ..storage.dynamodb_items import PlainRecord, plain_values, read_plain, text

DEFAULT_ASSERTION_LIFETIME = 300
LONGEST_ASSERTION_LIFETIME = 3600
DEFAULT_MAX_AGE = 3600
LONGEST_MAX_AGE = DAY

MAX_ISSUER_LENGTH = 512
"""Bytes of an issuer. DynamoDB's limit for a partition key is 2,048 bytes."""

_CACHED_KEY_SETS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionRules(PlainRecord):
    """Keys and rules for assertions that a client signs itself (private_key_jwt).

    The keys are in `jwks`, a JWK Set as JSON, or at `jwks_uri`, never both. Keys that cannot verify signatures are
    ignored. `signing_alg` is the only accepted algorithm (`token_endpoint_auth_signing_alg`); empty accepts all
    supported ones. `exp` may be at most `lifetime` seconds ahead. `accepts_token_endpoint` also accepts the token
    endpoint's URL as `aud`. `requires_typ` requires `client-authentication+jwt`.
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
            check_url("jwks_uri", self.jwks_uri)
        else:
            check_inline_keys(self.key_set)

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that the client may sign with."""
        return _accepted(self.signing_alg)

    @property
    def key_set(self) -> KeySet:
        """The keys in `jwks`.

        Raises:
            ValueError: it is not a JWK Set, or contains a private key.
        """
        return read_key_set(self.jwks, self.signing_alg)


def check_url(name: str, url: str) -> None:
    """Check an https URL; raises ValueError with its name."""
    try:
        parse_url(url)
    except ValueError as error:
        raise ValueError(f"{name} is {error}.") from None


def check_issuer(name: str, issuer: str) -> None:
    """Check an issuer's https URL; raises ValueError with its name."""
    check_url(name, issuer)
    if len(issuer.encode()) > MAX_ISSUER_LENGTH:
        raise ValueError(f"{name} has more than {MAX_ISSUER_LENGTH} bytes.")


def check_inline_keys(key_set: KeySet) -> None:
    """Check that the set can verify signatures. Keys for other purposes are ignored.

    Raises:
        ValueError: no key is usable, or two usable keys have one key id.
    """
    if Reason.KID_AMBIGUOUS in key_set.left_out:
        raise ValueError("Two different signing keys in jwks have the same kid.")
    if not key_set.keys:
        reasons = ", ".join(sorted(set(key_set.left_out))) or "it is empty"
        raise ValueError(f"jwks has no usable public signing key with a kid: {reasons}.")


@lru_cache(maxsize=_CACHED_KEY_SETS)
def read_key_set(jwks: str, signing_alg: str) -> KeySet:
    """Read public keys for one algorithm, or for all supported ones if it is empty; raises ValueError."""
    document = strict_json.parse_object(jwks.encode())
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("jwks is a JWK Set: an object with an array named keys.")  # noqa: TRY004 - malformed like the others
    if any(isinstance(key, dict) and has_private_part(key) for key in keys):
        raise ValueError("jwks holds a private or symmetric key. Register public keys only.")
    return parse_key_set(jwks.encode(), _accepted(signing_alg))


def _accepted(signing_alg: str) -> frozenset[str]:
    return with_both_names(frozenset({signing_alg})) if signing_alg else ALGORITHMS


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationRule:
    """Tokens of another issuer that authenticate a client (federated_jwt).

    `issuer` and `audience` are compared byte for byte. In `subject`, `*` matches any characters
    except the first. `claims` are compared exactly; of an object, the members that the rule names.
    A token is accepted until `max_age` seconds after `iat`, and only once with `one_time`.
    """

    issuer: str
    audience: str
    subject: str
    claims: Mapping[str, object] = field(default_factory=dict)
    max_age: int = DEFAULT_MAX_AGE
    one_time: bool = False

    def __post_init__(self) -> None:
        check_url("The issuer of a federation rule", self.issuer)
        if not self.audience:
            raise ValueError("A federation rule needs an audience.")
        if not self.subject or self.subject.startswith("*"):
            raise ValueError("A federation rule's subject begins with something other than *.")
        if not 0 < self.max_age <= LONGEST_MAX_AGE:
            raise ValueError(f"A federated token counts for 1 to {LONGEST_MAX_AGE} seconds.")

    def admits_subject(self, subject: str) -> bool:
        """Return whether the rule matches the subject."""
        return matches_wildcards(self.subject, subject)

    def admits_claims(self, claims: Mapping[str, object]) -> bool:
        """Return whether the token has all claims that the rule requires."""
        return _holds(self.claims, claims)

    def to_record(self) -> dict[str, object]:
        """Return the rule as part of a client's record. Its claims are JSON, so that 1 stays 1."""
        return {**plain_values(self), "claims": json.dumps(dict(self.claims), sort_keys=True)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FederationRule:
        """Read a record.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        claims = strict_json.parse_object(text(record["claims"]).encode())
        return cls(**read_plain(cls, record), claims=claims)


def _holds(wanted: object, found: object) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and _holds(value, found[name]) for name, value in wanted.items()
        )
    # In Python 1 == True, but the claims 1 and true differ.
    return type(wanted) is type(found) and wanted == found


def matches_wildcards(pattern: str, text: str) -> bool:
    """Return whether a pattern describes the whole text.

    Each part between two wildcards is searched for once, from the left. The leftmost occurrence
    leaves the most for the parts that follow, so nothing is ever tried again.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == text
    *middle, last = parts
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last)):
        return False
    position = len(first)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return position <= end
