"""Clients as YAML or JSON documents without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from authorizer.claims import THUMBPRINT
from functions.shared.clients.assertion_rules import (
    DEFAULT_ASSERTION_LIFETIME,
    DEFAULT_MAX_AGE,
    LONGEST_ASSERTION_LIFETIME,
    LONGEST_MAX_AGE,
    AssertionRules,
    FederationRule,
)
from functions.shared.clients.certificate_subject import CertificateSubject, SubjectKind
from functions.shared.clients.client import (
    ASSERTION_ALGORITHMS,
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    DEFAULT_SIGNING_ALGORITHM,
    DEFAULT_TOKEN_LIFETIME,
    FEDERATED_JWT,
    GRANT_TYPES,
    LONGEST_TOKEN_LIFETIME,
    MAX_RESOURCE_LENGTH,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SIGNING_ALGORITHMS,
    TLS_CLIENT_AUTH,
    Client,
    TokenFormat,
    TokenProfile,
)
from infra.cli.errors import UsageError
from infra.cli.input_files import line_of, parse_yaml, read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Line = Callable[[Sequence[str | int]], str]
"""Renders the line of a member, such as ` (line 7)`, or an empty string."""


_Schema = dict[str, Any]

_TEXT = {"type": "string"}
_SCOPE = {
    "type": "string",
    "title": "scope",
    "description": "visible ASCII without spaces, quotes and backslashes, and not a single *",
    "pattern": r"^(?!\*$)[\x21\x23-\x5B\x5D-\x7E]+$",
}
_RESOURCE = {
    "type": "string",
    "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:[^#\s]+$",
    "maxLength": MAX_RESOURCE_LENGTH,
}


def clients_file() -> _Schema:
    """Return the schema of a clients file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clients of Gatehouse",
        "description": "Input of 'gatehouse clients apply', YAML or JSON. Contains no secrets.",
        **_object({"clients": {"type": "array", "items": client()}}, required=["clients"]),
    }


def client() -> _Schema:
    """Return the schema of one client. Absent fields have their defaults."""
    fields = {
        "client_id": {"type": "string", "pattern": r"^[\x20-\x7E]{1,128}$"},
        "name": {**_TEXT, "default": "", "description": "Display name."},
        "authentication_methods": {
            **_set(_one_of(sorted(METHODS))),
            "minItems": 1,
            "description": "Default: the methods that assertion, federation, certificate_name and "
            "certificate_thumbprints imply; without these fields the two secret methods.",
        },
        "assertion": _assertion_schema(),
        "federation": {"type": "array", "items": _federation_rule(), "default": []},
        "certificate_name": _certificate_name_schema(),
        "certificate_thumbprints": {
            **_set({"type": "string", "pattern": f"^{THUMBPRINT}$"}),
            "description": "x5t#S256 of the certificates of self_signed_tls_client_auth.",
        },
        "grant_types": {**_set(_one_of(GRANT_TYPES)), "default": [CLIENT_CREDENTIALS]},
        "scopes": {**_set(_SCOPE), "description": "Scopes that the client may request."},
        "default_scopes": {
            **_set(_SCOPE),
            "description": "Scopes of a token whose request names none.",
        },
        "token_format": _one_of(TokenFormat, TokenFormat.JWT.value),
        "token_profile": {
            **_one_of(TokenProfile),
            "description": "Default for a new client: at+jwt if it names an audience or allowed "
            "resources, otherwise plain. Default for a registered client: its profile.",
        },
        "token_lifetime": _seconds(2, LONGEST_TOKEN_LIFETIME, DEFAULT_TOKEN_LIFETIME),
        "audience": {
            **_set(_TEXT),
            "description": "APIs that accept the client's tokens (claim aud).",
        },
        "resource_scopes": {
            **_set(_SCOPE),
            "description": "As a resource server: scopes whose tokens it may introspect.",
        },
        "resource_audiences": {
            **_set(_TEXT),
            "description": "As a resource server: its names in the audience of a token.",
        },
        "allowed_resources": {
            **_set(_RESOURCE),
            "description": "Further APIs that a request may name in resource (RFC 8707).",
        },
        "exchange_subjects": {
            **_set(_TEXT),
            "description": "Clients whose tokens it may exchange (RFC 8693).",
        },
        "signing_algorithm": _one_of(SIGNING_ALGORITHMS, DEFAULT_SIGNING_ALGORITHM),
        "dpop_bound_access_tokens": _flag("Require DPoP-bound tokens (RFC 9449, 5.2)."),
        "dpop_nonce_required": _flag("Require a server nonce in each DPoP proof (RFC 9449, 8)."),
        "tls_client_certificate_bound_access_tokens": _flag(
            "Require certificate-bound tokens (RFC 8705, 3.4)."
        ),
        "disabled": {
            "type": "boolean",
            "description": "If absent, the registered value stays: a client that was disabled "
            "in an emergency stays disabled.",
        },
    }
    return _object(fields, required=["client_id"])


def _assertion_schema() -> _Schema:
    fields = {
        "jwks": {
            **_object({"keys": {"type": "array", "items": {"type": "object"}, "minItems": 1}}),
            "required": ["keys"],
            "description": "The client's public keys (RFC 7517).",
        },
        "jwks_uri": {**_TEXT, "pattern": "^https?://"},
        "signing_alg": _one_of(["", *ASSERTION_ALGORITHMS], ""),
        "lifetime": _seconds(1, LONGEST_ASSERTION_LIFETIME, DEFAULT_ASSERTION_LIFETIME),
        "accepts_token_endpoint": _flag("Accept the URL of the token endpoint as aud."),
        "requires_typ": _flag("Require typ client-authentication+jwt."),
    }
    return {
        **_object(fields),
        "oneOf": [{"required": ["jwks"]}, {"required": ["jwks_uri"]}],
        "description": "Public keys and rules for the assertions of private_key_jwt.",
    }


def _federation_rule() -> _Schema:
    fields = {
        "issuer": {**_TEXT, "pattern": "^https?://"},
        "audience": {**_TEXT, "minLength": 1},
        "subject": {
            "type": "string",
            "pattern": r"^[^*]",
            "description": "* matches any number of characters. It must not come first.",
        },
        "claims": {"type": "object", "default": {}},
        "max_age": _seconds(1, LONGEST_MAX_AGE, DEFAULT_MAX_AGE),
        "one_time": _flag("Accept each token once (claim jti)."),
    }
    return {
        **_object(fields, required=["issuer", "audience", "subject"]),
        "description": "Rule for tokens of one issuer, used by federated_jwt.",
    }


def _certificate_name_schema() -> _Schema:
    fields = {"kind": _one_of(SubjectKind), "value": {**_TEXT, "minLength": 1}}
    return {
        **_object(fields, required=["kind", "value"]),
        "description": "Name in the certificate of tls_client_auth (RFC 8705, 2.1.2).",
    }


def _object(fields: _Schema, required: Iterable[str] = ()) -> _Schema:
    made: _Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


def _set(items: _Schema) -> _Schema:
    return {"type": "array", "items": items, "uniqueItems": True}


def _one_of(names: Iterable[str], default: str | None = None) -> _Schema:
    made: _Schema = {"enum": [str(name) for name in names]}
    return made if default is None else {**made, "default": default}


def _seconds(least: int, most: int, default: int) -> _Schema:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def _flag(description: str) -> _Schema:
    return {"type": "boolean", "default": False, "description": description}


def schema_faults(
    document: object, schema: Mapping[str, Any], text: str | None = None
) -> list[str]:
    """Return the validation errors of a document, with line numbers if its text is given."""
    errors = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda e: e.json_path)

    def line(path: Sequence[str | int]) -> str:
        return "" if text is None else f" (line {line_of(text, path)})"

    # jsonschema reports each missing field, and `_rule` names all of them.
    return list(dict.fromkeys(_fault(error, document, line) for error in errors))


def _fault(error: ValidationError, document: object, line: Line) -> str:
    path = list(error.absolute_path)
    where = _joined(path)
    match path:
        case ["clients", int() as number, *rest]:
            entry = document["clients"][number]  # type: ignore[index]  # where the error is
            name = entry.get("client_id", number) if isinstance(entry, dict) else number
            where = ": ".join(filter(None, (f"client {name}", _joined(rest))))
    if error.validator == "additionalProperties":
        names = ", ".join(f"{name}{line([*path, name])}" for name in _unknown(error))
        return f"{where or 'the file'}: unknown field {names}"
    return f"{where or 'the file'}{line(path)} {_rule(error)}"


def _joined(path: Sequence[str | int]) -> str:
    """Render a path as a program would: `federation[0].issuer`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _rule(error: ValidationError) -> str:
    value: Any = error.validator_value
    match error.schema:
        case {"type": "string", "title": title, "description": description}:
            return f"is not a valid {title}: {description}"
    rules = {
        "required": f"lacks the field {', '.join(_missing(error))}",
        "enum": f"must be one of {', '.join(map(str, value)) if isinstance(value, list) else ''}",
        "type": f"must be of type {value}{_hint(error)}",
        "oneOf": "needs exactly one of jwks and jwks_uri",
        "minItems": "must not be empty",
        "minLength": "must not be empty",
        "maxLength": f"must have at most {value} characters",
        "minimum": f"must be at least {value}",
        "maximum": f"must be at most {value}",
        "uniqueItems": "contains an entry twice",
        "pattern": f"does not match the pattern {value}",
    }
    return rules.get(str(error.validator), f"violates {error.validator}: {value}")


def _hint(error: ValidationError) -> str:
    is_number = isinstance(error.instance, int | float)
    return " (quote it)" if is_number and error.validator_value == "string" else ""


def _missing(error: ValidationError) -> list[str]:
    if error.validator != "required":
        return []
    wanted: list[str] = error.validator_value  # type: ignore[assignment]  # JSON Schema's own rule
    return sorted(set(wanted) - set(error.instance))  # type: ignore[arg-type]  # an object: see its schema


def _unknown(error: ValidationError) -> list[str]:
    known: dict[str, object] = error.schema["properties"]  # type: ignore[index]  # an object's schema
    return sorted(map(str, set(error.instance) - set(known)))  # type: ignore[arg-type]  # an object


SECRET_METHODS = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})
"""Authentication methods that use a client secret."""

PROOF_FIELDS: Mapping[str, str] = {
    PRIVATE_KEY_JWT: "assertion",
    FEDERATED_JWT: "federation",
    TLS_CLIENT_AUTH: "certificate_name",
    SELF_SIGNED_TLS_CLIENT_AUTH: "certificate_thumbprints",
}
"""The field that each other authentication method needs."""

_SHOWN_FAULTS = 10
# Fields that are sets, because order has no meaning.
_SETS = frozenset(
    {
        "authentication_methods",
        "certificate_thumbprints",
        "grant_types",
        "scopes",
        "resource_scopes",
        "resource_audiences",
        "allowed_resources",
        "exchange_subjects",
    }
)
_TUPLES = frozenset({"default_scopes", "audience"})


def to_document(client: Client) -> dict[str, Any]:
    """Render a client without its secrets and without fields that have their default.

    A JWT client always names its profile, because the default depends on the audience.
    """
    named = {"token_profile"} if client.token_format is TokenFormat.JWT else set()
    return {
        field.name: _plain(getattr(client, field.name))
        for field in fields(client)
        if field.name != "secrets"
        and (field.name in named or getattr(client, field.name) != field.default)
    }


def from_document(document: Mapping[str, Any], registered: Client | None = None) -> Client:
    """Build a client from a document that matches the schema.

    The secrets of a registered client do not change. Neither do `disabled` and `token_profile` if
    the document does not contain them.

    Raises:
        UsageError: fields contradict each other.
    """
    profile = registered.token_profile if registered else default_profile(document)
    completed = {
        "authentication_methods": implied_methods(document),
        "token_profile": profile,
        **document,
    }
    try:
        converted: dict[str, Any] = {
            name: _CONVERSIONS.get(name, _unchanged)(value) for name, value in completed.items()
        }
        client = Client(**converted)
        if registered is None:
            return client
        disabled = bool(document.get("disabled", registered.disabled))
        return replace(client, secrets=registered.secrets, disabled=disabled)
    except ValueError as error:
        raise UsageError(f"Client {document['client_id']}: {error}") from error


def implied_methods(document: Mapping[str, Any]) -> list[str]:
    """Return the authentication methods that a document's other fields imply.

    Without keys, rules or certificates the client authenticates with a secret.
    """
    implied = [method for method, name in PROOF_FIELDS.items() if document.get(name)]
    return implied or sorted(SECRET_METHODS)


def default_profile(document: Mapping[str, Any]) -> TokenProfile:
    """Return the profile of a new client whose document does not name one.

    An at+jwt token needs an API as audience. A client without one gets plain tokens, whose
    audience is the client.
    """
    has_api = document.get("audience") or document.get("allowed_resources")
    is_opaque = document.get("token_format") == TokenFormat.OPAQUE
    return TokenProfile.AT_JWT if has_api and not is_opaque else TokenProfile.PLAIN


def checked(document: Mapping[str, Any], registered: Client | None = None) -> Client:
    """Validate a document against the schema and build a client from it; raises UsageError."""
    faults = schema_faults({"clients": [document]}, clients_file())
    if faults:
        raise UsageError(f"The client is not valid: {'; '.join(faults)}.")
    return from_document(document, registered)


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read a clients file and validate it against the schema; raises NotFoundError, UsageError."""
    return parse_documents(read_text(path), str(path))


def parse_documents(text: str, source: str) -> list[dict[str, Any]]:
    """Parse the text of a clients file, as `read_file` does."""
    document = parse_yaml(text, source)
    faults = schema_faults(document, clients_file(), text)
    if faults:
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        more = len(faults) - _SHOWN_FAULTS
        rest = f"; and {more} more" if more > 0 else ""
        raise UsageError(
            f"{source} is not a valid clients file: {shown}{rest}.",
            "Print the schema: gatehouse clients schema.",
        )
    documents: list[dict[str, Any]] = document["clients"]  # type: ignore[index]  # the schema says so
    ids = [each["client_id"] for each in documents]
    twice = sorted({client_id for client_id in ids if ids.count(client_id) > 1})
    if twice:
        raise UsageError(
            f"{source} contains clients twice: {', '.join(twice)}.", "Remove the duplicates."
        )
    return documents


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Render a clients file."""
    return yaml.safe_dump(
        {"clients": [dict(document) for document in documents]}, sort_keys=False, width=100
    )


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, AssertionRules):
        document = _differing(value)
        return {**document, "jwks": json.loads(value.jwks)} if value.jwks else document
    if isinstance(value, FederationRule):
        return _differing(value)
    if isinstance(value, CertificateSubject):
        return {"kind": value.kind.value, "value": value.value}
    return value.value if isinstance(value, TokenFormat | TokenProfile) else value


def _differing(value: DataclassInstance) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in fields(value)
        if getattr(value, field.name) not in (field.default, {})
    }


def _assertion(document: Mapping[str, Any]) -> AssertionRules:
    rules = dict(document)
    if "jwks" in rules:
        rules["jwks"] = json.dumps(rules["jwks"], sort_keys=True)
    return AssertionRules(**rules)


def _federation(rules: Iterable[Mapping[str, Any]]) -> tuple[FederationRule, ...]:
    return tuple(FederationRule(**rule) for rule in rules)


def _certificate_name(document: Mapping[str, Any]) -> CertificateSubject:
    return CertificateSubject(SubjectKind(document["kind"]), document["value"])


def _unchanged(value: object) -> object:
    return value


_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(_SETS, frozenset),
    **dict.fromkeys(_TUPLES, tuple),
    "assertion": _assertion,
    "federation": _federation,
    "certificate_name": _certificate_name,
    "token_format": TokenFormat,
    "token_profile": TokenProfile,
}
