"""A client of the authorization server, and its form as a DynamoDB item."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from authorizer.claims import is_scope
from functions.shared.clients import assertion_rules, certificate_names, federation_rules
from functions.shared.clients.authentication_methods import (
    FEDERATED_JWT,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
)
from functions.shared.clients.client_secrets import StoredSecret
from functions.shared.clients.grant_types import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from functions.shared.clients.resource_indicators import is_resource_indicator
from functions.shared.storage import dynamodb_items
from functions.shared.storage.dynamodb_items import boolean, integer, listed, text, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from functions.shared.clients.assertion_rules import AssertionRules
    from functions.shared.clients.certificate_names import CertificateName
    from functions.shared.clients.federation_rules import FederationRule

SCHEMA_VERSION: Final = 1
DEFAULT_TOKEN_LIFETIME: Final = 14_400
LONGEST_TOKEN_LIFETIME: Final = 86_400
"""Seconds. Key rotation relies on it: a key stays published as long as its tokens live."""

DEFAULT_SIGNING_ALGORITHM: Final = "RS256"
SIGNING_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")

_CLIENT_ID = re.compile(r"[\x20-\x7E]{1,128}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class TokenFormat(StrEnum):
    """Whether a client's tokens speak for themselves or are looked up."""

    JWT = "jwt"
    OPAQUE = "opaque"


class TokenProfile(StrEnum):
    """Which claims a client's JWTs carry.

    PLAIN: for the client itself, scopes as a list, no `typ`. AT_JWT: an access token of RFC 9068.
    """

    PLAIN = "plain"
    AT_JWT = "at+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A machine that may ask for tokens, or that may introspect them, or both.

    Each of `authentication_methods` has what it is checked by: secrets `secrets`, private_key_jwt
    `assertion`, federated_jwt any of `federation`, tls_client_auth `certificate_name`, and
    self_signed_tls_client_auth `certificate_thumbprints` (`x5t#S256`).

    `audience` names the APIs its tokens are for; without one a token is for the client itself, and
    so is a plain JWT whose request names no resource. `allowed_resources` are further APIs, which a
    request may name (RFC 8707). `default_scopes` are granted when a request names none.
    `token_lifetime` is in seconds.

    `resource_scopes` are the scopes that it owns as a resource server: it sees every token that
    carries one. `resource_audiences` are the names under which it is in a token's audience, beside
    its client_id. `exchange_subjects` are the clients whose tokens it may exchange (RFC 8693).

    `dpop_bound_access_tokens` and `tls_client_certificate_bound_access_tokens` as RFC 9449, 5.2,
    and RFC 8705, 3.4, have them; `dpop_nonce_required` asks for a nonce of ours in every proof.
    """

    client_id: str
    name: str = ""
    authentication_methods: frozenset[str]
    secrets: tuple[StoredSecret, ...] = ()
    assertion: AssertionRules | None = None
    federation: tuple[FederationRule, ...] = ()
    certificate_name: CertificateName | None = None
    certificate_thumbprints: frozenset[str] = frozenset()
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
    dpop_bound_access_tokens: bool = False
    dpop_nonce_required: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
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

    def is_among(self, audience: Iterable[str]) -> bool:
        """Whether a token's audience names this client, by its id or as a resource server."""
        return any(name == self.client_id or name in self.resource_audiences for name in audience)


def _check_authentication(client: Client) -> None:
    if not METHODS.issuperset(client.authentication_methods):
        raise ValueError(f"An authentication method is one of {', '.join(sorted(METHODS))}.")
    # A client may be without a secret for a while, between two of them; not without all the rest.
    for method, checked_by in (
        (PRIVATE_KEY_JWT, client.assertion),
        (FEDERATED_JWT, client.federation),
        (TLS_CLIENT_AUTH, client.certificate_name),
        (SELF_SIGNED_TLS_CLIENT_AUTH, client.certificate_thumbprints),
    ):
        if method in client.authentication_methods and not checked_by:
            raise ValueError(f"The method {method} has nothing to be checked by.")
    if not all(map(_THUMBPRINT.fullmatch, client.certificate_thumbprints)):
        raise ValueError("A certificate's thumbprint is SHA-256 in base64url.")
    if sum(secret.is_imported for secret in client.secrets) > 1:
        raise ValueError("One imported secret at most: a failed login costs one scrypt.")


def _check_tokens(client: Client) -> None:
    if not all((*client.audience, *client.resource_audiences)):
        raise ValueError("The name of an audience is not empty.")
    if client.token_profile is TokenProfile.AT_JWT and not (
        client.audience or client.allowed_resources
    ):
        raise ValueError("An at+jwt token needs an audience.")
    if client.signing_algorithm not in SIGNING_ALGORITHMS:
        raise ValueError(f"A signing algorithm is one of {', '.join(SIGNING_ALGORITHMS)}.")
    if not all(map(is_resource_indicator, client.allowed_resources)):
        raise ValueError("A resource is an absolute URI without a fragment.")
    if client.dpop_bound_access_tokens and client.tls_client_certificate_bound_access_tokens:
        raise ValueError("A token is bound to one key: by DPoP or by a certificate.")
    is_plain = client.token_profile is TokenProfile.PLAIN and client.token_format is TokenFormat.JWT
    if is_plain and TOKEN_EXCHANGE in client.grant_types:
        raise ValueError("Exchanged tokens tell client and subject apart: at+jwt or opaque.")


def is_client_id(candidate: str) -> bool:
    """Whether a text can be a client_id at all. RFC 6749, appendix A.1."""
    return _CLIENT_ID.fullmatch(candidate) is not None


def to_item(client: Client) -> dict[str, Any]:
    """Render a client as a DynamoDB item."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "client_id": client.client_id,
        "name": client.name,
        "authentication_methods": sorted(client.authentication_methods),
        "secrets": [_secret_to_record(secret) for secret in client.secrets],
        "assertion": assertion_rules.to_record(client.assertion),
        "federation": [federation_rules.to_record(rule) for rule in client.federation],
        "certificate_name": certificate_names.to_record(client.certificate_name),
        "certificate_thumbprints": sorted(client.certificate_thumbprints),
        "grant_types": sorted(client.grant_types),
        "scopes": sorted(client.scopes),
        "default_scopes": list(client.default_scopes),
        "token_format": client.token_format.value,
        "token_profile": client.token_profile.value,
        "token_lifetime": client.token_lifetime,
        "audience": list(client.audience),
        "resource_scopes": sorted(client.resource_scopes),
        "resource_audiences": sorted(client.resource_audiences),
        "allowed_resources": sorted(client.allowed_resources),
        "exchange_subjects": sorted(client.exchange_subjects),
        "signing_algorithm": client.signing_algorithm,
        "dpop_bound_access_tokens": client.dpop_bound_access_tokens,
        "dpop_nonce_required": client.dpop_nonce_required,
        "tls_client_certificate_bound_access_tokens": (
            client.tls_client_certificate_bound_access_tokens
        ),
        "disabled": client.disabled,
    }
    return dynamodb_items.to_item(record)


def from_item(item: Mapping[str, Any]) -> Client:
    """Read a client from a DynamoDB item.

    Raises:
        StorageCorruptError: another schema version, a missing or mistyped attribute, or a rule
            of `Client` broken.
    """
    record = dynamodb_items.from_item(item, schema_version=SCHEMA_VERSION)
    with dynamodb_items.reading("a client record"):
        return _client_from_record(record)


def _client_from_record(record: Mapping[str, Any]) -> Client:
    return Client(
        client_id=text(record["client_id"]),
        name=text(record["name"]),
        authentication_methods=frozenset(texts(record["authentication_methods"])),
        secrets=tuple(_secret_from_record(secret) for secret in listed(record["secrets"])),
        assertion=assertion_rules.from_record(record["assertion"]),
        federation=tuple(
            federation_rules.from_record(rule) for rule in listed(record["federation"])
        ),
        certificate_name=certificate_names.from_record(record["certificate_name"]),
        certificate_thumbprints=frozenset(texts(record["certificate_thumbprints"])),
        grant_types=frozenset(texts(record["grant_types"])),
        scopes=frozenset(texts(record["scopes"])),
        default_scopes=tuple(texts(record["default_scopes"])),
        token_format=TokenFormat(record["token_format"]),
        token_profile=TokenProfile(record["token_profile"]),
        token_lifetime=integer(record["token_lifetime"]),
        audience=tuple(texts(record["audience"])),
        resource_scopes=frozenset(texts(record["resource_scopes"])),
        resource_audiences=frozenset(texts(record["resource_audiences"])),
        allowed_resources=frozenset(texts(record["allowed_resources"])),
        exchange_subjects=frozenset(texts(record["exchange_subjects"])),
        signing_algorithm=text(record["signing_algorithm"]),
        dpop_bound_access_tokens=boolean(record["dpop_bound_access_tokens"]),
        dpop_nonce_required=boolean(record["dpop_nonce_required"]),
        tls_client_certificate_bound_access_tokens=boolean(
            record["tls_client_certificate_bound_access_tokens"]
        ),
        disabled=boolean(record["disabled"]),
    )


def _secret_to_record(secret: StoredSecret) -> dict[str, object]:
    return {
        "digest": secret.digest,
        "not_before": secret.not_before,
        "expires_at": secret.expires_at,
    }


def _secret_from_record(record: Mapping[str, Any]) -> StoredSecret:
    not_before, expires_at = record["not_before"], record["expires_at"]
    return StoredSecret(
        digest=text(record["digest"]),
        not_before=None if not_before is None else integer(not_before),
        expires_at=None if expires_at is None else integer(expires_at),
    )
