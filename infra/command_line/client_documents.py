"""Clients as people write and review them: YAML or JSON documents without secrets."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml
from jsonschema import Draft202012Validator

from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_names import CertificateName, NameKind
from functions.shared.clients.client_record import Client, TokenFormat, TokenProfile
from functions.shared.clients.federation_rules import FederationRule
from infra.command_line import client_schema
from infra.command_line.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from _typeshed import DataclassInstance
    from jsonschema.exceptions import ValidationError

T = TypeVar("T")

_SHOWN_FAULTS: Final = 10
# Fields whose order has no meaning, and which records keep as sets.
_SETS: Final = frozenset(
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
_TUPLES: Final = frozenset({"default_scopes", "audience"})
_TEXT: Final = "tag:yaml.org,2002:str"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_NOT_IN_JSON: Final = frozenset(
    {_TIMESTAMP, *(f"tag:yaml.org,2002:{name}" for name in ("binary", "set", "omap", "pairs"))}
)


def to_document(client: Client) -> dict[str, Any]:
    """Render a client without its secrets; fields that have their default are left out."""
    return {
        field.name: _plain(getattr(client, field.name))
        for field in fields(client)
        if field.name != "secrets" and getattr(client, field.name) != field.default
    }


def from_document(document: Mapping[str, Any], registered: Client | None = None) -> Client:
    """Make a client of a document that the schema admits.

    What a file has no say in stays as it is registered: secrets, and `disabled` when left out.

    Raises:
        UsageError: fields do not go together.
    """
    try:
        converted: dict[str, Any] = {
            name: _CONVERSIONS.get(name, _as_it_is)(value) for name, value in document.items()
        }
        client = Client(**converted)
        if registered is None:
            return client
        disabled = bool(document.get("disabled", registered.disabled))
        return replace(client, secrets=registered.secrets, disabled=disabled)
    except ValueError as error:
        raise UsageError(f"Client {document['client_id']}: {error}") from error


def checked(document: Mapping[str, Any]) -> Client:
    """Make a new client of a document of any kind, held to the schema first.

    Raises:
        UsageError: it breaks the schema, or fields do not go together.
    """
    faults = _faults({"clients": [document]}, client_schema.clients_file())
    if faults:
        raise UsageError(f"This makes no client: {'; '.join(faults)}.")
    return from_document(document)


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read a clients file and hold it to the schema.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no YAML or JSON, or not what the schema says, or names a client twice.
    """
    document = parse_yaml(read_text(path), str(path))
    faults = _faults(document, client_schema.clients_file())
    if faults:
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        more = len(faults) - _SHOWN_FAULTS
        rest = f"; and {more} more" if more > 0 else ""
        raise UsageError(
            f"{path} is not a clients file: {shown}{rest}.",
            "The schema: gatehouse clients schema.",
        )
    documents: list[dict[str, Any]] = document["clients"]  # type: ignore[index]  # the schema says so
    ids = [each["client_id"] for each in documents]
    twice = sorted({client_id for client_id in ids if ids.count(client_id) > 1})
    if twice:
        raise UsageError(f"{path} names clients twice: {', '.join(twice)}.", "Keep one of each.")
    return documents


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        UsageError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8.") from error


def parse_yaml(text: str, source: str) -> object:
    """Parse YAML, of which JSON is a part.

    Raises:
        UsageError: it is neither, has a key twice, or a value that JSON does not have.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{source} is not YAML: {where}{error.problem}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{source} is nested too deeply.") from error


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Render a clients file."""
    return yaml.safe_dump(
        {"clients": [dict(document) for document in documents]}, sort_keys=False, width=100
    )


class _StrictLoader(yaml.SafeLoader):
    """A safe loader of what JSON can say too, which is how clients are kept: dates are texts.

    It refuses what is said twice: the first one would be lost unseen.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:  # noqa: ANN401 - the library's signature
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # no types there
        return _TEXT if tag == _TIMESTAMP and implicit[0] else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the library's signature
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise _refused(f"{name} is there twice", key)
            seen.add(name)
        made = super().construct_mapping(node, deep)
        for key in made:
            if not isinstance(key, str):
                raise _refused(f"{key} names a field and is no text (it needs quotes)", node)
        return made

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - the library's signature
        if node.tag in _NOT_IN_JSON:
            raise _refused(f"{node.tag.rpartition(':')[2]} is a type that JSON does not have", node)
        try:
            value = super().construct_object(node, deep)
        except ValueError as error:
            raise _refused("a number is too long", node) from error
        if not isinstance(value, float):
            return value
        if not isfinite(value):
            raise _refused(f"{value} is a number that JSON does not have", node)
        return int(value) if value.is_integer() else value


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _faults(document: object, schema: Mapping[str, Any]) -> list[str]:
    errors = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda e: e.json_path)
    return [_fault(error, document) for error in errors]


def _fault(error: ValidationError, document: object) -> str:
    """Say where and what, without the value: somebody may have put a secret there."""
    path = list(error.absolute_path)
    where = ".".join(str(part) for part in path) or "the file"
    match path:
        case ["clients", int() as number, *rest]:
            entry = document["clients"][number]  # type: ignore[index]  # where the error is
            name = entry.get("client_id", number) if isinstance(entry, dict) else number
            where = f"client {name}" + (f": {'.'.join(map(str, rest))}" if rest else "")
    expected = {
        "additionalProperties": "has a field that is not known",
        "required": "lacks a field",
        "enum": f"is none of {error.validator_value}",
        "type": f"is no {error.validator_value}{_hint(error)}",
        "oneOf": "needs exactly one of jwks and jwks_uri",
    }.get(str(error.validator), f"breaks {error.validator}: {error.validator_value}")
    if error.validator in {"additionalProperties", "required"}:
        expected += f" ({_names(error)})"
    return f"{where} {expected}"


def _hint(error: ValidationError) -> str:
    is_number = isinstance(error.instance, int | float)
    wants_text = error.validator_value == "string"
    return " (a number that is meant as a text needs quotes)" if is_number and wants_text else ""


def _names(error: ValidationError) -> str:
    given: set[object] = set(error.instance)  # type: ignore[arg-type]  # an object: its schema says so
    if error.validator == "required":
        wanted: list[str] = error.validator_value  # type: ignore[assignment]  # JSON Schema's own rule
        return ", ".join(sorted(set(wanted) - given))
    known: dict[str, object] = error.schema["properties"]  # type: ignore[index]  # ours are objects
    return ", ".join(sorted(map(str, given - set(known))))


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
    if isinstance(value, CertificateName):
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


def _certificate_name(document: Mapping[str, Any]) -> CertificateName:
    return CertificateName(NameKind(document["kind"]), document["value"])


def _as_it_is(value: object) -> object:
    return value


_CONVERSIONS: Final[Mapping[str, Callable[[Any], object]]] = {
    **dict.fromkeys(_SETS, frozenset),
    **dict.fromkeys(_TUPLES, tuple),
    "assertion": _assertion,
    "federation": _federation,
    "certificate_name": _certificate_name,
    "token_format": TokenFormat,
    "token_profile": TokenProfile,
}
