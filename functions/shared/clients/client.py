"""A client of the authorization server, and its DynamoDB item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from authorizer.claims import THUMBPRINT, is_scope

from ..lifetimes import LONGEST_TOKEN_LIFETIME
from ..storage import dynamodb_items
from ..storage.dynamodb_items import integer, listed, plain_values, read_plain, text
from .client_secrets import StoredSecret
from .supported import (
    CLIENT_CREDENTIALS,
    DEFAULT_SIGNING_ALGORITHM,
    FEDERATED_JWT,
    JWT_BEARER,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SIGNING_ALGORITHMS,
    SPIFFE_JWT,
    SPIFFE_X509,
    TLS_CLIENT_AUTH,
    TOKEN_EXCHANGE,
)

if TYPE_CHECKING:
    from .assertion_rules import AssertionRules, FederationRule
    from .certificate_name import CertificateName
    from .spiffe_rules import SpiffeRules

T = TypeVar("T")

SCHEMA_VERSION = 1
DEFAULT_TOKEN_LIFETIME = 14_400

MAX_RESOURCE_LENGTH = 512

_AUDIENCE_ALGORITHMS = "audience_signing_algorithms"
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_CLIENT_ID = re.compile(r"[\x20-\x7E]{1,128}")


class TokenFormat(StrEnum):
    """JWTs are verified by their signature, opaque tokens by introspection."""

    JWT = "jwt"
    OPAQUE = "opaque"


class TokenProfile(StrEnum):
    """The claims of a client's JWTs.

    PLAIN: its audience is the client, `scope` is a list, without `typ`. AT_JWT: RFC 9068.
    """

    PLAIN = "plain"
    AT_JWT = "at+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A machine that may request tokens, introspect them, or both.

    Each of `authentication_methods` has its own data: client secrets `secrets`, private_key_jwt `assertion`,
    federated_jwt `federation`, tls_client_auth `certificate_name`, self_signed_tls_client_auth
    `certificate_thumbprints` (`x5t#S256`), and spiffe_jwt and spiffe_x509 `spiffe`.

    `audience` names the APIs of its tokens. Without one, and in a plain JWT whose request names no
    resource, the audience is the client. A request may name `allowed_resources`, too (RFC 8707).
    `default_scopes` are granted to a request without scopes. `token_lifetime` is in seconds.
    `audience_signing_algorithms` has algorithms by audience, where they differ from `signing_algorithm`.

    `resource_scopes` are the scopes that it owns as a resource server: introspection shows it each
    token with one of them. `resource_audiences` are its names in a token's audience, in addition to
    its client_id. `exchange_subjects` are the clients whose tokens it may exchange (RFC 8693).

    `dpop_bound_access_tokens` is defined in RFC 9449, 5.2, and `tls_client_certificate_bound_access_tokens` in RFC
    8705, 3.4. `dpop_nonce_required` requires a server nonce in each DPoP proof.

    `claims` are additional claims of its tokens; `additional_claims` has the rules for them.
    """

    client_id: str
    name: str = ""
    authentication_methods: frozenset[str]
    secrets: tuple[StoredSecret, ...] = ()
    assertion: AssertionRules | None = None
    federation: tuple[FederationRule, ...] = ()
    certificate_name: CertificateName | None = None
    certificate_thumbprints: frozenset[str] = frozenset()
    spiffe: SpiffeRules | None = None
    grant_types: frozenset[str] = frozenset({CLIENT_CREDENTIALS})
    scopes: frozenset[str] = frozenset()
    default_scopes: tuple[str, ...] = ()
    token_format: TokenFormat = TokenFormat.JWT
    token_profile: TokenProfile = TokenProfile.PLAIN
    token_lifetime: int = DEFAULT_TOKEN_LIFETIME
    audience: tuple[str, ...] = ()
    resource_scopes: frozenset[str] = frozenset()
    resource_audiences: frozenset[str] = frozenset()
    allowed_resources: frozenset[str] = frozenset()
    exchange_subjects: frozenset[str] = frozenset()
    signing_algorithm: str = DEFAULT_SIGNING_ALGORITHM
    audience_signing_algorithms: Mapping[str, str] = field(default_factory=dict)
    dpop_bound_access_tokens: bool = False
    dpop_nonce_required: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    claims: Mapping[str, object] = field(default_factory=dict)
    disabled: bool = False

    def __post_init__(self) -> None:
        if not is_client_id(self.client_id):
            raise ValueError("A client_id is 1 to 128 visible ASCII characters.")
        if not all(map(is_scope, self.scopes | self.resource_scopes)):
            raise ValueError("A scope is visible ASCII without quotes and backslashes, and not *.")
        if not self.scopes.issuperset(self.default_scopes):
            raise ValueError("Default scopes must be among the client's scopes.")
        if not 1 < self.token_lifetime <= LONGEST_TOKEN_LIFETIME:
            raise ValueError(f"A token lives 2 to {LONGEST_TOKEN_LIFETIME} seconds.")
        _check_authentication(self)
        _check_tokens(self)

    @property
    def signing_algorithms(self) -> frozenset[str]:
        """All algorithms that sign its tokens."""
        return frozenset((self.signing_algorithm, *self.audience_signing_algorithms.values()))

    def signing_algorithm_for(self, audience: Iterable[str]) -> str:
        """Return the algorithm that signs a token: that of its audience, if all audiences have the same."""
        found = {self.audience_signing_algorithms.get(name, self.signing_algorithm) for name in audience}
        return found.pop() if len(found) == 1 else self.signing_algorithm

    def is_among(self, audience: Iterable[str]) -> bool:
        """Return whether an audience names this client, by its id or as a resource server."""
        return any(name == self.client_id or name in self.resource_audiences for name in audience)


def _check_authentication(client: Client) -> None:
    if not METHODS.issuperset(client.authentication_methods):
        raise ValueError(f"An authentication method is one of {', '.join(sorted(METHODS))}.")
    # Secrets may be missing for a while, between two of them; the others may not.
    for method, checked_by in (
        (PRIVATE_KEY_JWT, client.assertion),
        (FEDERATED_JWT, client.federation),
        (TLS_CLIENT_AUTH, client.certificate_name),
        (SELF_SIGNED_TLS_CLIENT_AUTH, client.certificate_thumbprints),
        (SPIFFE_JWT, client.spiffe),
        (SPIFFE_X509, client.spiffe and not client.spiffe.jwks_uri),
    ):
        if method in client.authentication_methods and not checked_by:
            raise ValueError(f"The method {method} has nothing to be checked by.")
    if not all(re.fullmatch(THUMBPRINT, each) for each in client.certificate_thumbprints):
        raise ValueError("A certificate's thumbprint is SHA-256 in base64url.")
    if sum(secret.is_imported for secret in client.secrets) > 1:
        raise ValueError("One imported secret at most: a failed login costs one scrypt.")


def _check_tokens(client: Client) -> None:
    if not all((*client.audience, *client.resource_audiences)):
        raise ValueError("The name of an audience is not empty.")
    if client.token_profile is TokenProfile.AT_JWT and not (client.audience or client.allowed_resources):
        raise ValueError("An at+jwt token needs an audience.")
    if not client.signing_algorithms.issubset(SIGNING_ALGORITHMS):
        raise ValueError(f"A signing algorithm is one of {', '.join(SIGNING_ALGORITHMS)}.")
    if not {client.client_id, *client.audience, *client.allowed_resources}.issuperset(
        client.audience_signing_algorithms
    ):
        raise ValueError("A signing algorithm is for one of the client's audiences or allowed resources.")
    if not all(map(is_resource_indicator, client.allowed_resources)):
        raise ValueError("A resource is an absolute URI without a fragment.")
    if client.dpop_bound_access_tokens and client.tls_client_certificate_bound_access_tokens:
        raise ValueError("A token is bound to one key: by DPoP or by a certificate.")
    if client.claims:
        from .additional_claims import check_claims

        check_claims(client.claims)
    is_plain = client.token_profile is TokenProfile.PLAIN and client.token_format is TokenFormat.JWT
    if is_plain and not client.grant_types.isdisjoint((TOKEN_EXCHANGE, JWT_BEARER)):
        raise ValueError("Tokens of this grant type separate client and subject: at+jwt or opaque.")


def is_client_id(candidate: str) -> bool:
    """Return whether a string has the form of a client_id. RFC 6749, appendix A.1."""
    return _CLIENT_ID.fullmatch(candidate) is not None


def is_resource_indicator(candidate: str) -> bool:
    """Return whether a string is an absolute URI without a fragment. RFC 8707, 2."""
    return len(candidate) <= MAX_RESOURCE_LENGTH and _ABSOLUTE_URI.fullmatch(candidate) is not None


def to_item(client: Client) -> dict[str, Any]:
    """Return a client's DynamoDB item."""
    record = plain_values(client) | {
        "schema_version": SCHEMA_VERSION,
        "secrets": [asdict(secret) for secret in client.secrets],
        "assertion": client.assertion and client.assertion.to_record(),
        "federation": [rule.to_record() for rule in client.federation],
        "certificate_name": client.certificate_name and client.certificate_name.to_record(),
        "token_format": client.token_format.value,
        "token_profile": client.token_profile.value,
    }
    if client.claims:
        from .additional_claims import encode

        record["claims"] = encode(client.claims)
    if client.audience_signing_algorithms:
        record[_AUDIENCE_ALGORITHMS] = dict(client.audience_signing_algorithms)
    if client.spiffe:  # absent from the records of earlier versions
        record["spiffe"] = client.spiffe.to_record()
    return dynamodb_items.to_item(record)


def from_item(item: Mapping[str, Any]) -> Client:
    """Read a client from a DynamoDB item.

    Raises:
        StorageCorruptError: another schema version, or a missing, mistyped or invalid attribute.
    """
    record = dynamodb_items.from_item(item, schema_version=SCHEMA_VERSION)
    with dynamodb_items.reading("a client record"):
        return _client_from_record(record)


def _client_from_record(record: Mapping[str, Any]) -> Client:
    return Client(
        **read_plain(Client, record),
        secrets=tuple(map(_secret_from_record, listed(record["secrets"]))),
        assertion=_optional(record["assertion"], _assertion_rules),
        federation=tuple(map(_federation_rule, listed(record["federation"]))),
        certificate_name=_optional(record["certificate_name"], _certificate_name),
        spiffe=_optional(record.get("spiffe"), _spiffe_rules),
        token_format=TokenFormat(record["token_format"]),
        token_profile=TokenProfile(record["token_profile"]),
        audience_signing_algorithms=_audience_algorithms(record),
        claims=_claims(text(record["claims"])) if "claims" in record else {},
    )


def _audience_algorithms(record: Mapping[str, Any]) -> Mapping[str, str]:
    stored = record.get(_AUDIENCE_ALGORITHMS)
    if _AUDIENCE_ALGORITHMS in record and not (stored and isinstance(stored, dict)):
        raise TypeError(f"{_AUDIENCE_ALGORITHMS} is a map with members")
    return {text(audience): text(algorithm) for audience, algorithm in stored.items()} if stored else {}


def _secret_from_record(record: Mapping[str, Any]) -> StoredSecret:
    return StoredSecret(
        digest=text(record["digest"]),
        not_before=_optional(record["not_before"], integer),
        expires_at=_optional(record["expires_at"], integer),
    )


# These modules are imported for the clients that need them: most clients have secrets only.
def _assertion_rules(record: Mapping[str, Any]) -> AssertionRules:
    from .assertion_rules import AssertionRules

    return AssertionRules.from_record(record)


def _federation_rule(record: Mapping[str, Any]) -> FederationRule:
    from .assertion_rules import FederationRule

    return FederationRule.from_record(record)


def _certificate_name(record: Mapping[str, Any]) -> CertificateName:
    from .certificate_name import CertificateName

    return CertificateName.from_record(record)


def _claims(stored: str) -> Mapping[str, object]:
    from .additional_claims import decode

    return decode(stored)


def _spiffe_rules(record: Mapping[str, Any]) -> SpiffeRules:
    from .spiffe_rules import SpiffeRules

    return SpiffeRules.from_record(record)


def _optional(value: Any, read: Callable[[Any], T]) -> T | None:
    return None if value is None else read(value)
