"""Whom another issuer's JWT must speak of to authenticate a client of ours. No secret anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authorizer import strict_json
from authorizer.https_client import parse_url
from functions.shared.runtime.wildcards import matches_wildcards
from functions.shared.storage import dynamodb_items

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MAX_AGE: Final = 3600
LONGEST_MAX_AGE: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationRule:
    """One kind of token of one issuer that proves a client.

    `issuer` and `audience` are compared byte for byte. In `subject` a `*` stands for any run of
    characters, but not for the first one. `claims` are compared exactly; in an object of the token
    only the members that the rule names. `max_age` is how many seconds after `iat` a token counts.
    `one_time` makes each token count once, by its `jti`.
    """

    issuer: str
    audience: str
    subject: str
    claims: Mapping[str, object] = field(default_factory=dict)
    max_age: int = DEFAULT_MAX_AGE
    one_time: bool = False

    def __post_init__(self) -> None:
        parse_url(self.issuer)
        if not self.audience:
            raise ValueError("A federation rule needs an audience.")
        if not self.subject or self.subject.startswith("*"):
            raise ValueError("A federation rule's subject begins with something other than *.")
        if not 0 < self.max_age <= LONGEST_MAX_AGE:
            raise ValueError(f"A federated token counts for 1 to {LONGEST_MAX_AGE} seconds.")

    def admits_subject(self, subject: str) -> bool:
        """Whether the rule is about this subject."""
        return matches_wildcards(self.subject, subject)

    def admits_claims(self, claims: Mapping[str, object]) -> bool:
        """Whether the token says all that the rule asks for."""
        return _holds(self.claims, claims)


def _holds(wanted: object, found: object) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and _holds(value, found[name]) for name, value in wanted.items()
        )
    # In Python 1 == True, and a claim that is true is not a claim that is 1.
    return type(wanted) is type(found) and wanted == found


def to_record(rule: FederationRule) -> dict[str, object]:
    """Render a rule as part of a client's record. Its claims are JSON, so that 1 stays 1."""
    return {
        "issuer": rule.issuer,
        "audience": rule.audience,
        "subject": rule.subject,
        "claims": json.dumps(dict(rule.claims), sort_keys=True),
        "max_age": rule.max_age,
        "one_time": rule.one_time,
    }


def from_record(record: Mapping[str, Any]) -> FederationRule:
    """Read what `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    return FederationRule(
        issuer=dynamodb_items.text(record["issuer"]),
        audience=dynamodb_items.text(record["audience"]),
        subject=dynamodb_items.text(record["subject"]),
        claims=strict_json.parse_object(dynamodb_items.text(record["claims"]).encode()),
        max_age=dynamodb_items.integer(record["max_age"]),
        one_time=dynamodb_items.boolean(record["one_time"]),
    )
