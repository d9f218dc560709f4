"""Clients and trust rules as YAML or JSON documents, without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import EnumType, StrEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, get_origin, get_type_hints

import yaml

from authorizer.claims import THUMBPRINT
from functions.shared.clients import (
    additional_claims,
    assertion_rules,
    certificate_name,
    client,
    spiffe_rules,
    supported,
    trust_rule,
)
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.supported import (
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    FEDERATED_JWT,
    JWT_BEARER,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    TLS_CLIENT_AUTH,
)
from functions.shared.clients.trust_rule import TrustRule

from .errors import UsageError
from .input_files import line_of, parse_yaml, read_text
from .record_store import R, Seen
from .times import readable

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Line = Callable[[Sequence[str | int]], str]
"""Renders the line of a member, such as ` (line 7)`, or an empty string."""

SECRET_METHODS = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})
"""Authentication methods that use a client secret."""

PROOF_FIELDS: Mapping[str, str] = {
    PRIVATE_KEY_JWT: "assertion",
    FEDERATED_JWT: "federation",
    TLS_CLIENT_AUTH: "certificate_name",
    SELF_SIGNED_TLS_CLIENT_AUTH: "certificate_thumbprints",
    SPIFFE_JWT: "spiffe",
}
"""The field that each other authentication method needs. spiffe_x509 is not implied: it needs mutual TLS."""

_SHOWN_FAULTS = 10

_CONSTANTS: Mapping[str, object] = {
    **vars(additional_claims),
    **vars(assertion_rules),
    **vars(certificate_name),
    **vars(client),
    **vars(spiffe_rules),
    **vars(supported),
    **vars(trust_rule),
    "OPTIONAL_ASSERTION_ALGORITHMS": ["", *supported.ASSERTION_ALGORITHMS],
    "THUMBPRINT": f"^{THUMBPRINT}$",
    "RULE_NAME": f"^{trust_rule.NAME}$",
    "CLAIMS": (
        f"Additional claims of its tokens (RFC 9068, 2.2.2), at most {additional_claims.MAX_LENGTH} bytes as compact "
        f"JSON, with at most {additional_claims.MAX_DEPTH} levels."
    ),
    "CLAIM_NAME": f"1 to {additional_claims.MAX_NAME_LENGTH} visible ASCII characters, and not a reserved name",
    "CLAIM_NAME_PATTERN": f"^(?!{additional_claims.RESERVED_PREFIX})[!-~]+$",
}
"""Values in the schemas: names of the modules that define clients and rules, and what is made of them."""


@cache
def _schema(name: str) -> dict[str, Any]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    made: dict[str, Any] = _with_constants(yaml.safe_load(text))
    return made


def _with_constants(node: object) -> Any:
    if isinstance(node, dict):
        return {name: _with_constants(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_with_constants(each) for each in node]
    if not (isinstance(node, str) and node.startswith("=")):
        return node
    value = _CONSTANTS[node[1:]]
    return plain(tuple(value) if isinstance(value, EnumType) else value)


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: an object whose only member, the plural, is a list. `key` is the key of each record."""

    plural: str
    singular: str
    key: str
    schema_file: str

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema. In the file, values that begin with = are constants."""
        return _schema(self.schema_file)


@dataclass(frozen=True, slots=True)
class RecordKind(FileKind, Generic[R]):
    """Clients or trust rules.

    `build` makes a record of a document, and `compared` has what a change shows. `--prune` skips `of_the_stack`.
    """

    build: Callable[[Mapping[str, Any], Seen[R] | None], R]
    compared: Callable[[R], dict[str, Any]]
    of_the_stack: str = ""


def schema_faults(document: object, kind: FileKind, text: str | None = None) -> list[str]:
    """Return the validation errors of a document, with line numbers if its text is given."""
    from jsonschema import Draft202012Validator  # a third of the time of commands that read no file

    errors = sorted(Draft202012Validator(kind.schema).iter_errors(document), key=lambda e: e.json_path)

    def line(path: Sequence[str | int]) -> str:
        return "" if text is None else f" (line {line_of(text, path)})"

    # jsonschema reports each missing field, and `_rule` names all of them.
    return list(dict.fromkeys(_fault(error, document, kind, line) for error in errors))


def _fault(error: ValidationError, document: object, kind: FileKind, line: Line) -> str:
    path = list(error.absolute_path)
    where = _joined(path)
    match path:
        case [kind.plural, int() as number, *rest]:
            entry = document[kind.plural][number]  # type: ignore[index]  # where the error is
            name = entry.get(kind.key, number) if isinstance(entry, dict) else number
            where = ": ".join(filter(None, (f"{kind.singular} {name}", _joined(rest))))
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        unknown = sorted(map(str, set(error.instance) - set(schema["properties"])))  # type: ignore[arg-type]  # an object
        names = ", ".join(f"{name}{line([*path, name])}" for name in unknown)
        return f"{where or 'the file'}: unknown field {names}"
    return f"{where or 'the file'}{line(path)} {_rule(error)}"


def _joined(path: Sequence[str | int]) -> str:
    """Render a path as a program would: `federation[0].issuer`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _rule(error: ValidationError) -> str:
    value: Any = error.validator_value
    instance: Any = error.instance
    match error.schema, error.validator:
        case {"title": "claim name", "description": description}, _:
            return f"has the name {instance}, but a claim's name is {description}"
        case {"type": "string", "title": title, "description": description}, _:
            return f"is not a valid {title}: {description}"
        case _, "required":
            return f"lacks the field {', '.join(sorted(set(value) - set(instance)))}"
        case _, "enum":
            return f"must be one of {', '.join(map(str, value))}"
    hint = " (quote it)" if value == "string" and isinstance(instance, int | float) else ""
    rules = {
        "type": f"must be {_TYPES.get(str(value), value)}{hint}",
        "oneOf": f"needs exactly one of {_alternatives(value)}",
        "minItems": "must not be empty",
        "minLength": "must not be empty",
        "maxLength": f"must have at most {value} characters",
        "minimum": f"must be at least {value}",
        "maximum": f"must be at most {value}",
        "uniqueItems": "contains an entry twice",
        "pattern": f"does not match the pattern {value}",
    }
    return rules.get(str(error.validator), f"violates {error.validator}: {value}")


def _alternatives(value: object) -> str:
    fields = [each["required"][0] for each in value] if isinstance(value, list) else []
    return " and ".join((", ".join(fields[:-1]), *fields[-1:]))


_TYPES: Mapping[str, str] = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "a mapping",
    "string": "text",
}


def read_file(path: Path, kind: FileKind) -> list[dict[str, Any]]:
    """Read a file and validate it against its schema; raises NotFoundError, UsageError."""
    return parse_documents(read_text(path), str(path), kind)


def parse_documents(text: str, source: str, kind: FileKind) -> list[dict[str, Any]]:
    """Parse the text of a file, as `read_file` does."""
    document = parse_yaml(text, source)
    faults = schema_faults(document, kind, text)
    if faults:
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        more = len(faults) - _SHOWN_FAULTS
        rest = f"; and {more} more" if more > 0 else ""
        raise UsageError(
            f"{source} is not a valid {kind.plural} file: {shown}{rest}.",
            f"Print the schema: gatehouse {kind.plural} schema.",
        )
    documents: list[dict[str, Any]] = document[kind.plural]  # type: ignore[index]  # the schema says so
    ids = [each[kind.key] for each in documents]
    twice = sorted({client_id for client_id in ids if ids.count(client_id) > 1})
    if twice:
        raise UsageError(f"{source} contains {kind.plural} twice: {', '.join(twice)}.", "Remove the duplicates.")
    return documents


def to_yaml(documents: Iterable[Mapping[str, Any]], kind: FileKind) -> str:
    """Render a file."""
    return yaml.safe_dump({kind.plural: [dict(document) for document in documents]}, sort_keys=False, width=100)


def plain(value: object, always: frozenset[str] = frozenset()) -> Any:
    """Return a value as JSON has it, a dataclass without fields that have their default."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, StrEnum):
        return value.value
    if not is_dataclass(value):
        return value
    document = {
        field.name: plain(getattr(value, field.name))
        for field in fields(value)
        if field.name in always or getattr(value, field.name) not in (field.default, {})
    }
    return document | {name: json.loads(document[name]) for name in _KEY_SETS if document.get(name)}


_KEY_SETS = ("jwks", "bundle")
"""Fields that are JSON in a record and objects in a document."""


def _with_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, **{name: json.dumps(document[name], sort_keys=True) for name in _KEY_SETS if name in document}}


# The module of Client does not import these.
_IMPORTED_LATE = {each.__name__: each for each in (AssertionRules, CertificateName, FederationRule, SpiffeRules)}


def _conversions(record: type[Client | TrustRule]) -> dict[str, Callable[[Any], object]]:
    """Return the constructor of each field that JSON has as a list or a text."""
    hints = get_type_hints(record, localns=_IMPORTED_LATE)
    kinds = {name: get_origin(hint) or hint for name, hint in hints.items()}
    return {name: kind for name, kind in kinds.items() if kind in (frozenset, tuple) or isinstance(kind, EnumType)}


_CLIENT_FIELDS: Mapping[str, Callable[[Any], object]] = {
    **_conversions(Client),
    "assertion": lambda rules: AssertionRules(**_with_keys(rules)),
    "spiffe": lambda rules: SpiffeRules(**_with_keys(rules)),
    "federation": lambda rules: tuple(FederationRule(**rule) for rule in rules),
    "certificate_name": lambda name: CertificateName(CertificateNameKind(name["kind"]), name["value"]),
}
_RULE_FIELDS = _conversions(TrustRule)


def _converted(document: Mapping[str, Any], constructors: Mapping[str, Callable[[Any], object]]) -> dict[str, Any]:
    return {name: constructors[name](value) if name in constructors else value for name, value in document.items()}


def build_client(document: Mapping[str, Any], registered: Client | None = None) -> Client:
    """Build a client from a document that matches the schema.

    The secrets of a registered client do not change. Neither do `disabled` and `token_profile` if
    the document does not contain them.

    Raises:
        UsageError: fields contradict each other.
    """
    # An at+jwt token needs an API as audience. A client without one gets plain tokens, whose audience is the client.
    has_api = document.get("audience") or document.get("allowed_resources")
    is_opaque = document.get("token_format") == TokenFormat.OPAQUE
    default_profile = TokenProfile.AT_JWT if has_api and not is_opaque else TokenProfile.PLAIN
    profile = registered.token_profile if registered else default_profile
    completed = {"authentication_methods": implied_methods(document), "token_profile": profile, **document}
    if not completed["authentication_methods"] and JWT_BEARER not in document.get("grant_types", ()):
        raise UsageError(f"Client {document['client_id']}: only the grant type {JWT_BEARER} needs no authentication.")
    stays = {"secrets": registered.secrets, "disabled": registered.disabled} if registered else {}
    try:
        return Client(**{**stays, **_converted(completed, _CLIENT_FIELDS)})
    except ValueError as error:
        raise UsageError(f"Client {document['client_id']}: {error}") from error


def implied_methods(document: Mapping[str, Any]) -> list[str]:
    """Return the authentication methods that a document's other fields imply.

    Without keys, rules or certificates the client authenticates with a secret. A client that only
    presents assertions of other issuers needs no method: a trust rule names it.
    """
    implied = [method for method, name in PROOF_FIELDS.items() if document.get(name)]
    if not implied and document.get("grant_types") == [JWT_BEARER]:
        return []
    return implied or sorted(SECRET_METHODS)


def checked(document: Mapping[str, Any], registered: Client | None = None) -> Client:
    """Validate a document against the schema and build a client from it; raises UsageError."""
    faults = schema_faults({"clients": [document]}, CLIENTS)
    if faults:
        raise UsageError(f"The client is not valid: {'; '.join(faults)}.")
    return build_client(document, registered)


def client_document(client: Client) -> dict[str, Any]:
    """Render a client without its secrets and without fields that have their default.

    A JWT client always names its profile, because the default depends on the audience.
    """
    always = frozenset({"token_profile"} if client.token_format is TokenFormat.JWT else ())
    document: dict[str, Any] = plain(replace(client, secrets=()), always)
    return document


def _compared_client(client: Client) -> dict[str, Any]:
    """Return a client's document, with each secret as its validity and a short hash."""
    secrets = [
        f"{readable(secret.not_before, otherwise='always')} to "
        f"{readable(secret.expires_at, otherwise='no end')} "
        f"({sha256(secret.digest.encode()).hexdigest()[:8]})"
        for secret in client.secrets
    ]
    return {**client_document(client), **({"secrets": secrets} if secrets else {})}


def build_rule(document: Mapping[str, Any], registered: TrustRule | None = None) -> TrustRule:
    """Build a rule from a document that matches the schema. Without `disabled`, the registered value stays.

    Raises:
        UsageError: fields contradict each other.
    """
    completed = {"disabled": registered is not None and registered.disabled, **_with_keys(document)}
    try:
        return TrustRule(**_converted(completed, _RULE_FIELDS))
    except ValueError as error:
        raise UsageError(f"Rule {document['name']}: {error}") from error


CLIENTS = RecordKind(
    "clients",
    "client",
    "client_id",
    "clients_schema.yaml",
    # A file does not replace a client that cannot be read, because its secrets would be lost.
    build=lambda document, seen: build_client(document, seen.record if seen else None),
    compared=_compared_client,
    of_the_stack="authorizer",  # the client of the Lambda authorizer for introspection
)
RULES = RecordKind(
    "rules",
    "rule",
    "name",
    "rules_schema.yaml",
    build=lambda document, seen: build_rule(document, seen.readable if seen else None),
    compared=plain,
)
