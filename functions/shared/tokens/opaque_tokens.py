"""Active tokens, and the table of the opaque ones: random strings whose claims are stored under the token's digest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from authorizer.aws import Aws
from authorizer.claims import Confirmation

from ..clients import additional_claims
from ..clients.client_secrets import SCANNABLE_PREFIX, random_credential
from ..storage import dynamodb_items
from ..storage.aws_calls import call
from ..storage.dynamodb_items import integer, text, texts

T = TypeVar("T")

TOKEN_PREFIX = f"{SCANNABLE_PREFIX}at_"
SCHEMA_VERSION = 1

_TOKEN = re.compile(rf"{TOKEN_PREFIX}[\w-]{{43}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveToken:
    """An active token, with the members of RFC 7662, 2.2. Times are whole seconds.

    `confirmation` is the key that it is bound to, `actor` its `act` claim (RFC 8693, 4.1), `claims`
    its additional claims.
    """

    client_id: str
    subject: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    issuer: str
    issued_at: int
    expires_at: int
    not_before: int
    token_id: str | None = None
    confirmation: Confirmation | None = None
    actor: Mapping[str, Any] | None = None
    claims: Mapping[str, object] = field(default_factory=dict)

    @property
    def has_foreign_subject(self) -> bool:
        """True if an assertion of another issuer named the subject. Otherwise, the subject is a client."""
        return additional_claims.SUBJECT_ID in self.claims

    @property
    def actors(self) -> tuple[str, ...]:
        """The clients in the `act` claim, the latest first.

        An actor of another issuer has the client that acted as `client_id`.
        """
        chain: list[str] = []
        actor = self.actor
        while actor:
            chain.append(actor.get("client_id", actor["sub"]))
            actor = actor.get("act")
        return tuple(chain)


def generate_token() -> str:
    """Return a new token of 256 random bits, with a prefix for secret scanners."""
    return random_credential(TOKEN_PREFIX)


def is_opaque_token(candidate: str) -> bool:
    """Return whether a string has the form of an opaque token."""
    return _TOKEN.fullmatch(candidate) is not None


def token_digest(token: str) -> str:
    """Return the digest of a token. The table does not contain tokens."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class OpaqueTokenStore:
    """Opaque tokens in a DynamoDB table keyed by `token_digest`, TTL attribute `expires_at`."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    def put(self, token: str, claims: ActiveToken) -> None:
        """Store the claims of a token."""
        call(self._aws, "dynamodb", "PutItem", TableName=self._table, Item=_to_item(token, claims))

    def find(self, token: str, now: float) -> ActiveToken | None:
        """Return the claims of a token; None if it is unknown, has expired, or has another form.

        The read is consistent, so that a token works as soon as it was issued. DynamoDB deletes
        expired items days late, so their time is checked here.
        """
        if not is_opaque_token(token):
            return None
        answer = call(self._aws, "dynamodb", "GetItem", TableName=self._table, Key=_key(token), ConsistentRead=True)
        item = answer.get("Item")
        claims = None if item is None else _from_item(item)
        return claims if claims and now < claims.expires_at else None

    def revoke(self, token: str, active: ActiveToken) -> None:
        """Delete a token, known or not."""
        call(self._aws, "dynamodb", "DeleteItem", TableName=self._table, Key=_key(token))


def _key(token: str) -> dict[str, Any]:
    return {"token_digest": {"S": token_digest(token)}}


def _to_item(token: str, claims: ActiveToken) -> dict[str, Any]:
    confirmation = claims.confirmation
    record = {
        "schema_version": SCHEMA_VERSION,
        "token_digest": token_digest(token),
        "client_id": claims.client_id,
        "scopes": list(claims.scopes),
        "audience": list(claims.audience),
        "issuer": claims.issuer,
        "issued_at": claims.issued_at,
        "expires_at": claims.expires_at,
        "subject": None if claims.subject == claims.client_id else claims.subject,
        "confirmation": {confirmation.method: confirmation.thumbprint} if confirmation else None,
        "actor": claims.actor,
        "claims": additional_claims.encode(claims.claims) if claims.claims else None,
    }
    # Most tokens have none of the last four, and a smaller item costs less.
    return dynamodb_items.to_item({name: value for name, value in record.items() if value is not None})


def _from_item(item: Mapping[str, Any]) -> ActiveToken:
    record = dynamodb_items.from_item(item, schema_version=SCHEMA_VERSION)
    with dynamodb_items.reading("a token record"):
        client_id, issued_at = text(record["client_id"]), integer(record["issued_at"])
        return ActiveToken(
            client_id=client_id,
            subject=_optional(record, "subject", text) or client_id,
            scopes=tuple(texts(record["scopes"])),
            audience=tuple(texts(record["audience"])),
            issuer=text(record["issuer"]),
            issued_at=issued_at,
            not_before=issued_at,
            expires_at=integer(record["expires_at"]),
            confirmation=_optional(record, "confirmation", _confirmation),
            actor=_optional(record, "actor", _actor),
            claims=_optional(record, "claims", _claims) or {},
        )


def _optional(record: Mapping[str, Any], name: str, read: Callable[[object], T]) -> T | None:
    """Read an optional attribute. A malformed one is an error, not an absent one."""
    return read(record[name]) if name in record else None


def _confirmation(stored: object) -> Confirmation:
    ((method, thumbprint),) = _mapping(stored).items()
    return Confirmation(method, text(thumbprint))


def _actor(stored: object) -> Mapping[str, Any]:
    actor = _mapping(stored)
    text(actor["sub"])
    text(actor.get("client_id", ""))
    if "act" in actor:
        _actor(actor["act"])
    return actor


def _claims(stored: object) -> Mapping[str, object]:
    return additional_claims.decode(text(stored))


def _mapping(stored: object) -> Mapping[str, Any]:
    if not isinstance(stored, dict):
        raise TypeError("a mapping is expected")
    return stored
