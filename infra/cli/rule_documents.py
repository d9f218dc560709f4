"""Trust rules as YAML or JSON documents."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from authorizer.claims import MAX_TEXT_LENGTH
from functions.shared.clients.assertion_rules import DEFAULT_MAX_AGE, LONGEST_MAX_AGE, MAX_ISSUER_LENGTH
from functions.shared.clients.supported import ASSERTION_ALGORITHMS
from functions.shared.clients.trust_rule import DEFAULT_LIFETIME, NAME, GrantProfile, TrustRule
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME

from .client_documents import CLAIM_CONSTANTS, FileKind, plain, read_schema
from .errors import UsageError


@cache
def rules_file() -> dict[str, Any]:
    """Return the JSON schema of a rules file."""
    constants: Mapping[str, object] = {
        **CLAIM_CONSTANTS,
        "NAME": f"^{NAME}$",
        "MAX_ISSUER_LENGTH": MAX_ISSUER_LENGTH,
        "PROFILES": [str(each) for each in GrantProfile],
        "ALGORITHMS": list(ASSERTION_ALGORITHMS),
        "LONGEST_MAX_AGE": LONGEST_MAX_AGE,
        "DEFAULT_MAX_AGE": DEFAULT_MAX_AGE,
        "MAX_TEXT_LENGTH": MAX_TEXT_LENGTH,
        "LONGEST_TOKEN_LIFETIME": LONGEST_TOKEN_LIFETIME,
        "DEFAULT_LIFETIME": DEFAULT_LIFETIME,
    }
    return read_schema("rules_schema.yaml", constants)


RULES_FILE = FileKind("rules", "rule", "name", rules_file)


def to_document(rule: TrustRule) -> dict[str, Any]:
    """Render a rule without fields that have their default."""
    document: dict[str, Any] = plain(rule)
    return document


def from_document(document: Mapping[str, Any], registered: TrustRule | None = None) -> TrustRule:
    """Build a rule from a document that matches the schema. Without `disabled`, the registered value stays.

    Raises:
        UsageError: fields contradict each other.
    """
    completed = {"disabled": registered is not None and registered.disabled, **document}
    converted: dict[str, Any] = {
        name: _CONVERSIONS[name](value) if name in _CONVERSIONS else value for name, value in completed.items()
    }
    try:
        return TrustRule(**converted)
    except ValueError as error:
        raise UsageError(f"Rule {document['name']}: {error}") from error


_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {
    "profile": GrantProfile,
    "jwks": lambda keys: json.dumps(keys, sort_keys=True),
    **dict.fromkeys(("algorithms", "scopes", "audiences", "copied_claims"), frozenset),
}
